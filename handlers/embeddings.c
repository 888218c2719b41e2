/* embeddings.c: the job type "embeddings": it turns texts into vectors. It runs in workers; load runs in the zygote.
 *
 *     plan    texts ──tokenizer──► ids ──► chunks of about the same number of tokens, the longest texts first
 *     run     chunk ──encoder──► a vector for each of its texts (embed/run.c)
 *     merge   vectors, in the order of the texts ──► JSON or .npy (embed/result.c)
 *
 * plan rejects what cannot be embedded, and names it by its index. embed/job.h says what the three tell each other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/embed/result.h"
#include "handlers/embed/run.h"
#include "handlers/embeddings.h"
#include "handlers/hash384.h"
#include "handlers/models.h"

enum { MAX_TEXTS = 100000 };

static const char *const encoding_choices[] = EMBEDDINGS_ENCODINGS;
static const char *const format_choices[] = {"npy", "json", NULL};
static const char *const results[] = {"application/x-npy", NULL};

/* A text that is planned. */
struct planned {
    struct embed_text text;
    size_t at; /* hash-384: unused; else where its ids begin in plan.ids */
};

struct plan {
    const struct embed_model *model;
    const struct params *params;
    const struct embeddings_request *request;
    size_t count;
    bool is_tokens;        /* the input is token ids */
    uint64_t tokens;       /* of all texts, as far as they were read */
    struct planned *texts; /* heap */
    uint32_t *ids;         /* heap; of all texts */
    size_t id_count, id_room;
};

/* ---- what cannot be embedded ------------------------------------------------------------------------------------- */

static int reject(struct call *c, const struct params *p, size_t i, const char *why) {
    char pointer[32] = "/input";
    if (param_is_list(p, "input"))
        snprintf(pointer, sizeof pointer, "/input/%zu", i);
    return call_fail(c, CALL_INVALID, pointer, "%s", why);
}

/* The token `t` of text i. */
static int reject_id(struct call *c, const struct plan *plan, size_t i, size_t t, uint32_t id) {
    char pointer[64];
    if (param_is_list(plan->params, "input"))
        snprintf(pointer, sizeof pointer, "/input/%zu/%zu", i, t);
    else
        snprintf(pointer, sizeof pointer, "/input/%zu", t);
    return call_fail(c, CALL_INVALID, pointer, "is the token id %u, and those of %s are below %u", id,
                     plan->model->name, plan->model->files->vocabulary);
}

/* For texts that are too long. */
static const char *way_out(const struct plan *plan) {
    return plan->request->can_truncate ? "; with \"truncate\": true its beginning is embedded" : "";
}

static int reject_long(struct call *c, const struct plan *plan, size_t i, size_t tokens) {
    char why[200];
    snprintf(why, sizeof why, "has %zu tokens, and %s takes %u%s", tokens, plan->model->name,
             plan->model->files->max_tokens, way_out(plan));
    return reject(c, plan->params, i, why);
}

static int add_tokens(struct call *c, struct plan *plan, size_t tokens) {
    uint64_t most = plan->request->max_tokens;
    plan->tokens += tokens;
    if (most == 0 || plan->tokens <= most)
        return 0;
    return call_fail(c, CALL_INVALID, "/input", "has more than %llu tokens in all", (unsigned long long)most);
}

/* ---- hash-384 ---------------------------------------------------------------------------------------------------- */

/* It only reads the texts that can be too long, or all if they can have too many tokens together. */
static int check_hash_text(struct call *c, struct plan *plan, size_t i, struct hash384 *model, bool counts) {
    struct hash384_extent extent;
    size_t size;
    char why[160];
    const char *text = param_text_at(plan->params, "input", i, &size);
    if (size <= HASH384_SURELY_SHORT && !counts)
        return 0;
    if (hash384_read(model, text, size, &extent) != 0)
        return reject(c, plan->params, i, "is not UTF-8");
    if (add_tokens(c, plan, extent.tokens) != 0)
        return -1;
    if (!extent.truncated)
        return 0;
    if (plan->request->truncate) {
        call_count(c, EMBED_TRUNCATED, 1);
        return 0;
    }
    snprintf(why, sizeof why, "has more than %d tokens or %d bytes%s", HASH384_MAX_TOKENS, HASH384_MAX_BYTES,
             way_out(plan));
    return reject(c, plan->params, i, why);
}

/* No text has more tokens than twice its bytes. */
static uint64_t input_bytes(const struct plan *plan) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->count; i++) {
        size_t size;
        param_text_at(plan->params, "input", i, &size);
        bytes += size;
    }
    return bytes;
}

static int read_hash_texts(struct call *c, struct plan *plan) {
    struct hash384 *model = hash384_new();
    int rc = model != NULL ? 0 : call_fail(c, CALL_MEMORY, NULL, "no memory for the model hash-384");
    bool counts = plan->request->max_tokens > 0 && 2 * input_bytes(plan) > plan->request->max_tokens;
    for (size_t i = 0; rc == 0 && i < plan->count; i++) {
        size_t size;
        param_text_at(plan->params, "input", i, &size);
        plan->texts[i].text = (struct embed_text){.place = (uint32_t)i, .size = (uint32_t)size};
        rc = call_cancelled(c) ? -1 : check_hash_text(c, plan, i, model, counts);
    }
    hash384_free(model);
    return rc;
}

/* ---- the other models -------------------------------------------------------------------------------------------- */

static int make_room(struct call *c, struct plan *plan) {
    const struct model *m = plan->model->files;
    if (plan->id_room - plan->id_count < m->max_tokens) {
        size_t room = plan->id_room * 2 + m->max_tokens;
        uint32_t *ids = reallocarray(plan->ids, room, sizeof *ids);
        if (ids == NULL)
            return call_fail(c, CALL_MEMORY, NULL, "no memory for the tokens");
        plan->ids = ids;
        plan->id_room = room;
    }
    return 0;
}

/* The text has so many tokens, of which plan.ids has at most max_tokens. */
static int take_ids(struct call *c, struct plan *plan, size_t i, size_t tokens) {
    const struct model *m = plan->model->files;
    bool cut = tokens > m->max_tokens;
    if (cut && !plan->request->truncate)
        return reject_long(c, plan, i, tokens);
    if (cut)
        call_count(c, EMBED_TRUNCATED, 1);
    uint32_t taken = cut ? m->max_tokens : (uint32_t)tokens;
    plan->texts[i].text = (struct embed_text){.place = (uint32_t)i, .tokens = taken, .size = taken};
    plan->texts[i].at = plan->id_count;
    plan->id_count += taken;
    return add_tokens(c, plan, tokens);
}

static int encode_text(struct call *c, struct plan *plan, size_t i, const char *text, size_t size) {
    const struct model *m = plan->model->files;
    if (make_room(c, plan) != 0)
        return -1;
    ptrdiff_t tokens = tokenizer_encode(m->tokenizer, text, size, plan->ids + plan->id_count, m->max_tokens);
    if (tokens < 0)
        return tokens == -1 ? reject(c, plan->params, i, "is not UTF-8")
                            : call_fail(c, CALL_MEMORY, NULL, "no memory for the tokens");
    return take_ids(c, plan, i, (size_t)tokens);
}

/* The client's own token ids, which are taken as they are: without a prompt, and with the special tokens that it gives. */
static int copy_ids(struct call *c, struct plan *plan, size_t i, const char *ids, size_t size) {
    const struct model *m = plan->model->files;
    size_t count = size / sizeof(int32_t);
    if (make_room(c, plan) != 0)
        return -1;
    for (size_t t = 0; t < count; t++) {
        int32_t id;
        memcpy(&id, ids + t * sizeof id, sizeof id);
        if ((uint32_t)id >= m->vocabulary)
            return reject_id(c, plan, i, t, (uint32_t)id);
        if (t < m->max_tokens)
            plan->ids[plan->id_count + t] = (uint32_t)id;
    }
    return take_ids(c, plan, i, count);
}

/* The text, behind the model's prompt if it has one. */
static int encode_with_prompt(struct call *c, struct plan *plan, size_t i, const char *text, size_t size) {
    size_t prompt = strlen(plan->model->files->prompt);
    if (prompt == 0)
        return encode_text(c, plan, i, text, size);
    char *whole = malloc(prompt + size);
    if (whole == NULL)
        return call_fail(c, CALL_MEMORY, NULL, "no memory for a text");
    memcpy(whole, plan->model->files->prompt, prompt);
    memcpy(whole + prompt, text, size);
    int rc = encode_text(c, plan, i, whole, prompt + size);
    free(whole);
    return rc;
}

static int read_texts(struct call *c, struct plan *plan) {
    for (size_t i = 0; i < plan->count; i++) {
        size_t size;
        const char *text = param_text_at(plan->params, "input", i, &size);
        if (call_cancelled(c) || (plan->is_tokens ? copy_ids : encode_with_prompt)(c, plan, i, text, size) != 0)
            return -1;
    }
    return 0;
}

/* ---- chunks ------------------------------------------------------------------------------------------------------ */

static size_t text_bytes(const struct plan *plan, const struct planned *t) {
    size_t size = plan->model->files != NULL ? t->text.size * sizeof(uint32_t) : ((size_t)t->text.size + 3) / 4 * 4;
    return sizeof t->text + size;
}

static void put_text(const struct plan *plan, const struct planned *t, char *to) {
    size_t size;
    memcpy(to, &t->text, sizeof t->text);
    if (plan->model->files != NULL)
        memcpy(to + sizeof t->text, plan->ids + t->at, t->text.size * sizeof(uint32_t));
    else
        memcpy(to + sizeof t->text, param_text_at(plan->params, "input", t->text.place, &size), t->text.size);
}

/* Tokens, or bytes that hash-384 reads. */
static uint64_t units(const struct plan *plan, const struct planned *t) {
    return plan->model->files != NULL || t->text.size < HASH384_MAX_BYTES ? t->text.size : HASH384_MAX_BYTES;
}

/* hash-384 takes its texts one by one; the other models take those of a chunk in one call. */
static uint64_t cost_of(const struct plan *plan, const struct planned *t, bool first) {
    const struct embed_model *m = plan->model;
    return (m->files == NULL || first ? m->call_cost_ns : 0) + m->unit_cost_ns * units(plan, t);
}

/* Makes one chunk of the texts [from, to). */
static int add_chunk(struct call *c, const struct plan *plan, size_t from, size_t to) {
    size_t total = 0, at = 0;
    uint64_t cost_ns = 0;
    for (size_t i = from; i < to; i++) {
        total += text_bytes(plan, &plan->texts[i]);
        cost_ns += cost_of(plan, &plan->texts[i], i == from);
    }
    char *bytes = calloc(1, total);
    if (bytes == NULL)
        return call_fail(c, CALL_MEMORY, NULL, "no memory for a chunk of %zu bytes", total);
    for (size_t i = from; i < to; i++) {
        put_text(plan, &plan->texts[i], bytes + at);
        at += text_bytes(plan, &plan->texts[i]);
    }
    int rc = plan_chunk(c, bytes, total, cost_ns);
    free(bytes);
    return rc;
}

static size_t chunk_count(const struct call *c, const struct plan *plan, uint64_t cost_ns) {
    uint64_t wanted = plan_wanted_chunks(c);
    if (wanted == 0)
        wanted = cost_ns / HANDLER_CHUNK_NS + 1;
    if (wanted > HANDLER_MAX_CHUNKS)
        wanted = HANDLER_MAX_CHUNKS;
    return wanted < plan->count ? (size_t)wanted : plan->count;
}

/* A chunk ends where its share of the whole cost is reached. It also ends where just as many texts are left as
 * chunks. */
static int add_chunks(struct call *c, const struct plan *plan) {
    uint64_t total_ns = 0, reached_ns = 0;
    for (size_t i = 0; i < plan->count; i++)
        total_ns += cost_of(plan, &plan->texts[i], false);
    size_t chunks = chunk_count(c, plan, total_ns), chunk = 0, from = 0;
    for (size_t i = 0; i < plan->count; i++) {
        reached_ns += cost_of(plan, &plan->texts[i], false);
        bool full = reached_ns >= total_ns / chunks * (chunk + 1) && chunk + 1 < chunks;
        if (!full && plan->count - i - 1 != chunks - chunk - 1)
            continue;
        if (add_chunk(c, plan, from, i + 1) < 0)
            return -1;
        from = i + 1;
        chunk++;
    }
    return 0;
}

static int longest_first(const void *left, const void *right) {
    const struct planned *a = left, *b = right;
    if (a->text.size != b->text.size)
        return a->text.size < b->text.size ? 1 : -1;
    return a->text.place < b->text.place ? -1 : 1;
}

/* ---- plan -------------------------------------------------------------------------------------------------------- */

static int check_input(struct call *c, const struct plan *plan) {
    size_t most = plan->request->max_texts;
    if (plan->count == 0)
        return call_fail(c, CALL_INVALID, "/input", "is an empty list");
    if (plan->count > most)
        return call_fail(c, CALL_INVALID, "/input", "has %zu texts; one request takes at most %zu", plan->count, most);
    for (size_t i = 0; i < plan->count; i++) {
        size_t size;
        param_text_at(plan->params, "input", i, &size);
        if (size == 0)
            return reject(c, plan->params, i, "is empty");
        if (size > UINT32_MAX - 8)
            return reject(c, plan->params, i, "is too long");
    }
    if (plan->is_tokens && plan->model->files == NULL)
        return call_fail(c, CALL_INVALID, "/input",
                         "must be text: the model hash-384 has no token ids, it reads words and characters");
    return 0;
}

static void reject_model(struct call *c, const struct embeddings_request *r) {
    char names[300];
    size_t count, used = 0;
    const struct embeddings_model *all = embeddings_models(&count);
    for (size_t i = 0; i < count && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "", all[i].name);
    call_fail(c, r->unknown_model, "/model", "there is no model \"%.60s\"; there is %s", r->model, names);
}

static const struct embed_model *choose_model(struct call *c, const struct embeddings_request *r) {
    const struct embed_model *m = r->model == NULL ? models_default() : models_find(r->model, r->model_size);
    if (m == NULL)
        reject_model(c, r);
    else if (r->dimensions > m->dimensions) {
        call_fail(c, CALL_INVALID, "/dimensions", "must be from 1 to %u for the model %s", m->dimensions, m->name);
        m = NULL;
    }
    return m;
}

/* hash-384 normalizes; of the others modules.json says it. */
static bool normalizes(const struct plan *plan) {
    if (plan->request->normalize != NORMALIZE_AS_MODEL)
        return plan->request->normalize == NORMALIZE_ALWAYS;
    return plan->model->files == NULL || plan->model->files->normalize;
}

static int put_settings(struct call *c, const struct plan *plan) {
    const struct embeddings_request *r = plan->request;
    struct embed_settings settings = {.texts = (uint32_t)plan->count,
                                      .dimensions =
                                          r->dimensions == 0 ? plan->model->dimensions : (uint32_t)r->dimensions,
                                      .encoding = r->encoding,
                                      .normalize = normalizes(plan)};
    snprintf(settings.model, sizeof settings.model, "%s", plan->model->name);
    return plan_common(c, &settings, sizeof settings);
}

static int plan_all(struct call *c, struct plan *plan) {
    plan->texts = calloc(plan->count, sizeof *plan->texts);
    if (plan->texts == NULL)
        return call_fail(c, CALL_MEMORY, NULL, "no memory for %zu texts", plan->count);
    if (put_settings(c, plan) < 0)
        return -1;
    if (plan->model->files == NULL)
        return read_hash_texts(c, plan) < 0 ? -1 : add_chunks(c, plan);
    if (read_texts(c, plan) < 0)
        return -1;
    qsort(plan->texts, plan->count, sizeof *plan->texts, longest_first);
    return add_chunks(c, plan);
}

int embeddings_plan_request(struct call *c, const struct params *p, const struct embeddings_request *request) {
    struct plan plan = {.params = p,
                        .request = request,
                        .count = param_texts(p, "input"),
                        .is_tokens = param_is_tokens(p, "input"),
                        .model = choose_model(c, request)};
    if (plan.model == NULL || check_input(c, &plan) < 0)
        return -1;
    int rc = plan_all(c, &plan);
    free(plan.texts);
    free(plan.ids);
    return rc;
}

static int embeddings_plan(struct call *c, const struct params *p) {
    struct embeddings_request request = {.unknown_model = CALL_INVALID,
                                         .encoding = (enum embeddings_encoding)param_choice(p, "encoding_format"),
                                         .truncate = param_bool(p, "truncate"),
                                         .can_truncate = true,
                                         .max_texts = MAX_TEXTS};
    if (param_choice(p, "format") == 0)
        request.encoding = EMBEDDINGS_NPY;
    if (param_given(p, "normalize"))
        request.normalize = param_bool(p, "normalize") ? NORMALIZE_ALWAYS : NORMALIZE_NEVER;
    request.model = param_text(p, "model", &request.model_size);
    param_i64(p, "dimensions", &request.dimensions);
    return embeddings_plan_request(c, p, &request);
}

static const struct param_spec embeddings_params[] = {
    {.name = "input",
     .kind = PARAM_TEXTS,
     .flags = PARAM_REQUIRED,
     .help = "the text to embed, or a list of up to 100,000 texts, none of them empty"},
    {.name = "model",
     .kind = PARAM_TEXT,
     .help =
         "a name of GET /v1/models; by default all-MiniLM-L6-v2 if it is installed, else hash-384, which is built in"},
    {.name = "dimensions",
     .kind = PARAM_INTEGER,
     .min = "1",
     .max = "4096",
     .help =
         "how many leading dimensions of the model to keep, normalised again if they are normalised; by default all"},
    {.name = "normalize",
     .kind = PARAM_BOOLEAN,
     .help = "scale each vector to length 1; by default as the model's files have it, and hash-384 does"},
    {.name = "truncate",
     .kind = PARAM_BOOLEAN,
     .fallback = "false",
     .help = "embed the beginning of a text that is too long for the model instead of rejecting it"},
    {.name = "encoding_format",
     .kind = PARAM_ENUM,
     .choices = encoding_choices,
     .fallback = "\"float\"",
     .help = "float: arrays of numbers; base64: strings of little-endian 32-bit floats"},
    {.name = "format",
     .kind = PARAM_ENUM,
     .choices = format_choices,
     .help = "npy: a .npy file of float32, a row for each text; by default as Accept says, else JSON"},
    {0}};

const struct handler_counter embeddings_counters[] = {
    [EMBED_TOKENS] = {"embeddings_tokens_total", "Tokens that were embedded."},
    [EMBED_TEXTS] = {"embeddings_texts_total", "Texts that were embedded."},
    [EMBED_TRUNCATED] = {"embeddings_truncated_total", "Texts that were cut to the model's length."},
    [EMBED_CALLS] = {"embeddings_calls_total", "Calls of an encoder; tokens / calls is how full they are."},
    {0}};

const struct handler handler_embeddings = {.abi = HANDLER_ABI,
                                           .name = "embeddings",
                                           .summary = "Turn texts into vectors that lie close for similar texts",
                                           .flags = HANDLER_JOINS,
                                           .params = embeddings_params,
                                           .results = results,
                                           .result_param = "format",
                                           .load = models_load,
                                           .plan = embeddings_plan,
                                           .run = embeddings_run,
                                           .run_batch = embeddings_run_batch,
                                           .merge = embeddings_merge,
                                           .counters = embeddings_counters,
                                           .plan_is = "tokenize",
                                           .run_is = "encode"};
