/* embeddings.c: the job type "embeddings": it turns texts into vectors. It runs in workers; load runs in the zygote.
 *
 * The only model is hash-384. plan rejects what cannot be embedded, and names it by its index. It groups the texts into
 * chunks of about equal cost; load measures the two constants of that cost. A chunk is its texts, each behind its size.
 * A part is a record for each text: the count of its tokens, then its vector. merge turns the records into JSON, as
 * numbers or as base64.
 */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "handlers/embeddings.h"
#include "handlers/hash384.h"
#include "handlers/models.h"

enum { MAX_TEXTS = 100000, BASE64_SIZE = (4 * HASH384_DIMENSIONS + 2) / 3 * 4 };

static const char *const model_choices[] = {"hash-384", NULL};
static const char *const encoding_choices[] = EMBEDDINGS_ENCODINGS;

/* The common bytes: what every run and the merge must know. */
struct settings {
    uint32_t dimensions;
    uint32_t encoding; /* enum embeddings_encoding */
    uint32_t normalize;
};

/* The record of a text in a part, which has only the first `dimensions` floats of the vector. */
struct record {
    uint32_t tokens;
    float vector[HASH384_DIMENSIONS];
};

/* Its release is the day of its first version. */
static const struct embeddings_model models[] = {{"hash-384", 1795219200, "offload"}};

const struct embeddings_model *embeddings_models(size_t *count) {
    *count = sizeof models / sizeof models[0];
    return models;
}

/* Set by load: what a text costs, and what each of its bytes costs beside that. */
static uint64_t text_cost_ns = 1000;
static uint64_t byte_cost_ns = 50;

/* ---- load: what a text costs here -------------------------------------------------------------------------------- */

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The time of the quickest of some rounds. The others were disturbed, or warmed up the caches. */
static uint64_t measure_ns(struct hash384 *model, const char *text, size_t size) {
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < 10; round++) {
        struct hash384_extent extent;
        struct record record;
        uint64_t start = now_ns();
        if (hash384_read(model, text, size, &extent) == 0)
            hash384_embed(model, HASH384_DIMENSIONS, true, record.vector);
        uint64_t taken = now_ns() - start;
        best = taken < best ? taken : best;
    }
    return best;
}

static int embeddings_load(void) {
    static const char sentence[] = "The cost of a text grows with its length; so does that of one in Köln or Москва. ";
    enum { REPEATS = 25 };
    char sample[REPEATS * (sizeof sentence - 1)];
    struct hash384 *model = hash384_new();
    if (!model) {
        fprintf(stderr, "embeddings: no memory for the model hash-384\n");
        return -1;
    }
    for (size_t i = 0; i < REPEATS; i++)
        memcpy(sample + i * (sizeof sentence - 1), sentence, sizeof sentence - 1);
    text_cost_ns = measure_ns(model, "a", 1) + 1;
    byte_cost_ns = measure_ns(model, sample, sizeof sample) / sizeof sample + 1;
    hash384_free(model);
    return 0;
}

/* ---- plan -------------------------------------------------------------------------------------------------------- */

static uint64_t cost_of(size_t size) {
    return text_cost_ns + byte_cost_ns * (size < HASH384_MAX_BYTES ? size : HASH384_MAX_BYTES);
}

static int reject(struct call *c, const struct params *p, size_t i, const char *why) {
    char pointer[32] = "/input";
    if (param_is_list(p, "input"))
        snprintf(pointer, sizeof pointer, "/input/%zu", i);
    return call_fail(c, CALL_INVALID, pointer, "%s", why);
}

/* It only reads the texts that can be too long. */
static int check_texts(struct call *c, const struct params *p, size_t count, bool truncate, struct hash384 *model) {
    char why[160];
    for (size_t i = 0; i < count; i++) {
        struct hash384_extent extent;
        size_t size;
        const char *text = param_text_at(p, "input", i, &size);
        if (size == 0)
            return reject(c, p, i, "is empty");
        if (truncate || size <= HASH384_SURELY_SHORT)
            continue;
        if (call_cancelled(c))
            return -1;
        if (hash384_read(model, text, size, &extent) != 0)
            return reject(c, p, i, "is not UTF-8");
        if (!extent.truncated)
            continue;
        snprintf(why, sizeof why,
                 "has more than %d tokens or %d bytes; with \"truncate\": true its beginning is embedded",
                 HASH384_MAX_TOKENS, HASH384_MAX_BYTES);
        return reject(c, p, i, why);
    }
    return 0;
}

/* No text has more tokens than twice its bytes, so few have to be counted. */
static int check_tokens(struct call *c, const struct params *p, size_t count, uint64_t max, struct hash384 *model) {
    uint64_t tokens = 0, bytes = 0;
    struct hash384_extent extent;
    size_t size;
    for (size_t i = 0; i < count; i++) {
        param_text_at(p, "input", i, &size);
        bytes += size;
    }
    if (max == 0 || 2 * bytes <= max)
        return 0;
    for (size_t i = 0; i < count && tokens <= max; i++) {
        const char *text = param_text_at(p, "input", i, &size);
        if (call_cancelled(c))
            return -1;
        if (hash384_read(model, text, size, &extent) != 0)
            return reject(c, p, i, "is not UTF-8");
        tokens += extent.tokens;
    }
    if (tokens <= max)
        return 0;
    return call_fail(c, CALL_INVALID, "/input", "has more than %llu tokens in all", (unsigned long long)max);
}

static int check_input(struct call *c, const struct params *p, size_t count, const struct embeddings_request *r) {
    if (count == 0)
        return call_fail(c, CALL_INVALID, "/input", "is an empty list");
    if (count > r->max_texts)
        return call_fail(c, CALL_INVALID, "/input", "has %zu texts; one request takes at most %zu", count,
                         r->max_texts);
    if (param_is_tokens(p, "input"))
        return call_fail(c, CALL_INVALID, "/input",
                         "must be text: the model hash-384 has no token ids, it reads words and characters");
    struct hash384 *model = hash384_new();
    if (!model)
        return call_fail(c, CALL_MEMORY, NULL, "no memory for the model hash-384");
    int rc = check_texts(c, p, count, r->truncate, model);
    if (rc == 0)
        rc = check_tokens(c, p, count, r->max_tokens, model);
    hash384_free(model);
    return rc;
}

static int check_model(struct call *c, const struct embeddings_request *r) {
    if (r->model_size != strlen(models[0].name) || memcmp(r->model, models[0].name, r->model_size) != 0)
        return call_fail(c, r->unknown_model, "/model", "there is no model \"%.60s\"; there is %s", r->model,
                         models[0].name);
    if (r->dimensions > HASH384_DIMENSIONS)
        return call_fail(c, CALL_INVALID, "/dimensions", "must be from 1 to %d for the model %s", HASH384_DIMENSIONS,
                         models[0].name);
    return 0;
}

/* Makes one chunk of the texts [from, to). */
static int add_chunk(struct call *c, const struct params *p, size_t from, size_t to, uint64_t cost_ns) {
    size_t total = 0, size, at = 0;
    for (size_t i = from; i < to; i++) {
        param_text_at(p, "input", i, &size);
        total += sizeof(uint32_t) + size;
    }
    char *bytes = malloc(total);
    if (!bytes)
        return call_fail(c, CALL_MEMORY, NULL, "no memory for a chunk of %zu bytes", total);
    for (size_t i = from; i < to; i++) {
        const char *text = param_text_at(p, "input", i, &size);
        memcpy(bytes + at, &(uint32_t){(uint32_t)size}, sizeof(uint32_t));
        memcpy(bytes + at + sizeof(uint32_t), text, size);
        at += sizeof(uint32_t) + size;
    }
    int rc = plan_chunk(c, bytes, total, cost_ns);
    free(bytes);
    return rc;
}

static uint64_t total_cost(const struct params *p, size_t count) {
    uint64_t cost_ns = 0;
    for (size_t i = 0; i < count; i++) {
        size_t size;
        param_text_at(p, "input", i, &size);
        cost_ns += cost_of(size);
    }
    return cost_ns;
}

static size_t chunk_count(const struct call *c, size_t texts, uint64_t cost_ns) {
    uint64_t wanted = plan_wanted_chunks(c);
    if (wanted == 0)
        wanted = cost_ns / HANDLER_CHUNK_NS + 1;
    if (wanted > HANDLER_MAX_CHUNKS)
        wanted = HANDLER_MAX_CHUNKS;
    return wanted < texts ? (size_t)wanted : texts;
}

/* A chunk ends where its share of the whole cost is reached. It also ends where just as many texts are left as
 * chunks. */
static int add_chunks(struct call *c, const struct params *p, size_t count) {
    uint64_t total_ns = total_cost(p, count), reached_ns = 0, began_ns = 0;
    size_t chunks = chunk_count(c, count, total_ns), chunk = 0, from = 0;
    for (size_t i = 0; i < count; i++) {
        size_t size;
        param_text_at(p, "input", i, &size);
        reached_ns += cost_of(size);
        bool full = reached_ns >= total_ns / chunks * (chunk + 1) && chunk + 1 < chunks;
        if (!full && count - i - 1 != chunks - chunk - 1)
            continue;
        if (add_chunk(c, p, from, i + 1, reached_ns - began_ns) < 0)
            return -1;
        from = i + 1;
        began_ns = reached_ns;
        chunk++;
    }
    return 0;
}

int embeddings_plan_request(struct call *c, const struct params *p, const struct embeddings_request *r) {
    size_t count = param_texts(p, "input");
    if (check_model(c, r) < 0 || check_input(c, p, count, r) < 0)
        return -1;
    struct settings settings = {.dimensions = r->dimensions == 0 ? HASH384_DIMENSIONS : (uint32_t)r->dimensions,
                                .encoding = (uint32_t)r->encoding,
                                .normalize = r->normalize};
    if (plan_common(c, &settings, sizeof settings) < 0)
        return -1;
    return add_chunks(c, p, count);
}

static int embeddings_plan(struct call *c, const struct params *p) {
    struct embeddings_request request = {.model = models[0].name,
                                         .model_size = strlen(models[0].name),
                                         .unknown_model = CALL_INVALID,
                                         .encoding = (enum embeddings_encoding)param_choice(p, "encoding_format"),
                                         .normalize = param_bool(p, "normalize"),
                                         .truncate = param_bool(p, "truncate"),
                                         .max_texts = MAX_TEXTS};
    param_i64(p, "dimensions", &request.dimensions);
    return embeddings_plan_request(c, p, &request);
}

/* ---- run --------------------------------------------------------------------------------------------------------- */

static bool read_settings(struct bytes common, struct settings *settings) {
    if (common.size != sizeof *settings)
        return false;
    memcpy(settings, common.data, sizeof *settings);
    return settings->dimensions >= 1 && settings->dimensions <= HASH384_DIMENSIONS;
}

static size_t record_size(const struct settings *settings) {
    return offsetof(struct record, vector) + settings->dimensions * sizeof(float);
}

/* Takes the next text from the rest of a chunk. False if the rest does not begin with a text. */
static bool next_text(struct bytes *rest, struct bytes *text) {
    uint32_t size;
    if (rest->size < sizeof size)
        return false;
    memcpy(&size, rest->data, sizeof size);
    if (rest->size - sizeof size < size)
        return false;
    *text = (struct bytes){(const char *)rest->data + sizeof size, size};
    *rest = (struct bytes){(const char *)text->data + size, rest->size - sizeof size - size};
    return true;
}

static int embed_chunk(struct call *c, struct hash384 *model, const struct settings *settings, struct bytes chunk) {
    struct bytes text, rest = chunk;
    while (rest.size > 0) {
        struct record record;
        struct hash384_extent extent;
        if (call_cancelled(c))
            return -1;
        if (!next_text(&rest, &text))
            return call_fail(c, CALL_FAILED, NULL, "the chunk is cut off in a text");
        if (hash384_read(model, text.data, text.size, &extent) != 0)
            return call_fail(c, CALL_FAILED, NULL, "a text is not UTF-8");
        record.tokens = extent.tokens;
        hash384_embed(model, settings->dimensions, settings->normalize, record.vector);
        if (part_write(c, &record, record_size(settings)) != 0)
            return -1;
        call_progress(c, chunk.size - rest.size, chunk.size);
    }
    return 0;
}

int embeddings_run(struct call *c, struct bytes common, struct bytes chunk) {
    struct settings settings;
    if (!read_settings(common, &settings))
        return call_fail(c, CALL_FAILED, NULL, "the chunk's settings are damaged");
    struct hash384 *model = hash384_new();
    if (!model)
        return call_fail(c, CALL_MEMORY, NULL, "no memory for the model hash-384");
    int rc = embed_chunk(c, model, &settings, chunk);
    hash384_free(model);
    return rc;
}

/* ---- merge ------------------------------------------------------------------------------------------------------- */

/* Writes base64 with padding (RFC 4648, section 4). Returns how many characters: (size + 2) / 3 * 4. */
static size_t encode_base64(const uint8_t *bytes, size_t size, char *out) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t written = 0;
    for (size_t i = 0; i < size; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16;
        three |= i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0;
        three |= i + 2 < size ? bytes[i + 2] : 0;
        out[written++] = alphabet[three >> 18];
        out[written++] = alphabet[three >> 12 & 63];
        out[written++] = i + 1 < size ? alphabet[three >> 6 & 63] : '=';
        out[written++] = i + 2 < size ? alphabet[three & 63] : '=';
    }
    return written;
}

static void write_base64(struct call *c, const float *vector, size_t dimensions) {
    uint32_t little[HASH384_DIMENSIONS];
    char text[BASE64_SIZE];
    memcpy(little, vector, dimensions * sizeof *little);
    for (size_t i = 0; i < dimensions; i++)
        little[i] = htole32(little[i]);
    json_text(c, text, encode_base64((const uint8_t *)little, dimensions * sizeof *little, text));
}

/* The merge of one of the types. */
struct writing {
    const struct settings *settings;
    void (*before)(struct call *c, size_t index);
    void (*after)(struct call *c);
    size_t index; /* of the next vector */
    uint64_t *tokens;
};

static void write_vector(struct call *c, struct writing *w, const struct record *record) {
    if (w->before)
        w->before(c, w->index);
    if (w->settings->encoding == EMBEDDINGS_BASE64)
        write_base64(c, record->vector, w->settings->dimensions);
    else
        json_float_array(c, record->vector, w->settings->dimensions);
    if (w->after)
        w->after(c);
    w->index++;
    *w->tokens += record->tokens;
}

/* Writes a part's vectors and adds up the tokens of its texts. */
static int write_part(struct call *c, struct writing *w, struct bytes part) {
    size_t size = record_size(w->settings);
    if (part.size % size != 0)
        return call_fail(c, CALL_FAILED, NULL, "a part is damaged");
    for (size_t at = 0; at < part.size; at += size) {
        struct record record;
        if (call_cancelled(c))
            return -1;
        memcpy(&record, (const char *)part.data + at, size);
        write_vector(c, w, &record);
    }
    return 0;
}

int embeddings_write(struct call *c, struct bytes common, const struct bytes *parts, size_t count,
                     void (*before)(struct call *c, size_t index), void (*after)(struct call *c), uint64_t *tokens) {
    struct settings settings;
    if (!read_settings(common, &settings))
        return call_fail(c, CALL_FAILED, NULL, "the job's settings are damaged");
    struct writing w = {&settings, before, after, 0, tokens};
    for (size_t i = 0; i < count; i++)
        if (write_part(c, &w, parts[i]) < 0)
            return -1;
    return 0;
}

const char *embeddings_merge_model(struct call *c, struct bytes common, uint32_t *dimensions) {
    struct settings settings;
    if (!read_settings(common, &settings)) {
        call_fail(c, CALL_FAILED, NULL, "the job's settings are damaged");
        return NULL;
    }
    *dimensions = settings.dimensions;
    return models[0].name;
}

void embeddings_write_usage(struct call *c, uint64_t tokens) {
    json_name(c, "usage");
    json_begin_object(c);
    json_name(c, "prompt_tokens");
    json_u64(c, tokens);
    json_name(c, "total_tokens");
    json_u64(c, tokens);
    json_end_object(c);
}

static int embeddings_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    uint64_t tokens = 0;
    uint32_t dimensions;
    const char *model = embeddings_merge_model(c, common, &dimensions);
    if (!model)
        return -1;
    json_begin_object(c);
    json_name(c, "model");
    json_text(c, model, strlen(model));
    json_name(c, "dimensions");
    json_u64(c, dimensions);
    json_name(c, "embeddings");
    json_begin_array(c);
    if (embeddings_write(c, common, parts, count, NULL, NULL, &tokens) < 0)
        return -1;
    json_end_array(c);
    embeddings_write_usage(c, tokens);
    json_end_object(c);
    return 0;
}

static const struct param_spec embeddings_params[] = {
    {.name = "input",
     .kind = PARAM_TEXTS,
     .flags = PARAM_REQUIRED,
     .help = "the text to embed, or a list of up to 100,000 texts, none of them empty"},
    {.name = "model",
     .kind = PARAM_ENUM,
     .choices = model_choices,
     .fallback = "\"hash-384\"",
     .help = "hash-384 is built in: word and character n-grams, hashed with signs"},
    {.name = "dimensions",
     .kind = PARAM_INTEGER,
     .min = "1",
     .max = "384",
     .fallback = "384",
     .help = "how many leading dimensions of the model to keep, normalised again"},
    {.name = "normalize", .kind = PARAM_BOOLEAN, .fallback = "true", .help = "scale each vector to length 1"},
    {.name = "truncate",
     .kind = PARAM_BOOLEAN,
     .fallback = "false",
     .help = "embed the beginning of a text that is too long (over 8192 tokens) instead of rejecting it"},
    {.name = "encoding_format",
     .kind = PARAM_ENUM,
     .choices = encoding_choices,
     .fallback = "\"float\"",
     .help = "float: arrays of numbers; base64: strings of little-endian 32-bit floats"},
    {0}};

const struct handler handler_embeddings = {.abi = HANDLER_ABI,
                                           .name = "embeddings",
                                           .summary = "Turn texts into vectors that lie close for similar texts",
                                           .params = embeddings_params,
                                           .load = embeddings_load,
                                           .plan = embeddings_plan,
                                           .run = embeddings_run,
                                           .merge = embeddings_merge};
