/* run.c: the chunks of jobs that embed texts -> vectors. It runs in workers.
 *
 * The texts of several chunks, of other jobs too, go through the encoder of their model in one call, end to end:
 *
 *     batch_next ──► chunk, chunk, ... ──► texts ──► calls of up to EMBED_CALL_TOKENS ──► rows of each part ──► batch_done
 *                                            (those of each model)
 *
 * Chunks are taken as long as there are some and they do not fill a chunk's time. So a batch is as large as the load makes
 * it, and a text that comes alone does not wait for others.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/embed/job.h"
#include "handlers/embed/run.h"
#include "handlers/hash384.h"

/* A text that waits for its call of the encoder. */
struct waiting {
    struct embed_text text;
    const uint32_t *ids;
    unsigned job; /* index into group.jobs */
};

struct group_job {
    struct call *call;
    struct embed_settings settings;
    const struct embed_model *model; /* NULL: it is done, or has failed, and has no texts */
    int rc;
};

/* The jobs whose texts are encoded together. */
struct group {
    struct group_job jobs[BATCH_MAX];
    unsigned job_count;
    struct waiting *texts; /* heap; kept for the next group */
    size_t text_count, text_room;
    const struct waiting **picked; /* heap: the texts of one call of the encoder */
    size_t picked_room;
    uint64_t tokens;
    uint32_t *ids; /* heap; of one call of the encoder */
    uint32_t *starts;
    float *vectors;
    size_t id_room, row_room, vector_room;
    struct encoder_scratch *scratch;
};

static struct group group; /* a worker runs one batch at a time */

/* ---- hash-384 ---------------------------------------------------------------------------------------------------- */

static int hash_chunk(struct call *c, struct hash384 *model, const struct embed_settings *s,
                      const struct embed_model *m, struct bytes chunk) {
    struct bytes text, rest = chunk;
    while (rest.size > 0) {
        struct {
            struct embed_row row;
            float vector[HASH384_DIMENSIONS];
        } out;
        struct embed_text head;
        struct hash384_extent extent;
        if (call_cancelled(c))
            return -1;
        if (!embed_next_text(m, &rest, &head, &text))
            return call_fail(c, CALL_FAILED, NULL, "the chunk is cut off in a text");
        if (hash384_read(model, text.data, text.size, &extent) != 0)
            return call_fail(c, CALL_FAILED, NULL, "a text is not UTF-8");
        out.row = (struct embed_row){head.place, extent.tokens};
        hash384_embed(model, s->dimensions, s->normalize, out.vector);
        if (part_write(c, &out, sizeof out.row + s->dimensions * sizeof(float)) != 0)
            return -1;
        call_count(c, EMBED_TOKENS, extent.tokens);
        call_count(c, EMBED_TEXTS, 1);
        call_progress(c, chunk.size - rest.size, chunk.size);
    }
    return 0;
}

static int hash_run(struct call *c, const struct embed_settings *s, const struct embed_model *m, struct bytes chunk) {
    struct hash384 *model = hash384_new();
    if (model == NULL)
        return call_fail(c, CALL_MEMORY, NULL, "no memory for the model hash-384");
    int rc = hash_chunk(c, model, s, m, chunk);
    hash384_free(model);
    return rc;
}

/* ---- a group ----------------------------------------------------------------------------------------------------- */

static bool grow(void **list, size_t *room, size_t wanted, size_t size) {
    if (wanted <= *room)
        return true;
    void *larger = reallocarray(*list, wanted + wanted / 2, size);
    if (larger == NULL)
        return false;
    *list = larger;
    *room = wanted + wanted / 2;
    return true;
}

static int add_texts(struct call *c, const struct embed_model *m, unsigned job, struct bytes chunk) {
    struct bytes ids;
    while (chunk.size > 0) {
        struct waiting w = {.job = job};
        if (!embed_next_text(m, &chunk, &w.text, &ids) || w.text.size < 1 || w.text.size > m->files->max_tokens)
            return call_fail(c, CALL_FAILED, NULL, "the chunk is damaged");
        w.ids = ids.data;
        for (uint32_t i = 0; i < w.text.size; i++)
            if (w.ids[i] >= m->files->vocabulary)
                return call_fail(c, CALL_FAILED, NULL, "the chunk has a token that the model has not");
        if (!grow((void **)&group.texts, &group.text_room, group.text_count + 1, sizeof w) ||
            !grow((void **)&group.picked, &group.picked_room, group.text_count + 1, sizeof *group.picked))
            return call_fail(c, CALL_MEMORY, NULL, "no memory for a text");
        group.texts[group.text_count++] = w;
        group.tokens += w.text.size;
    }
    return 0;
}

static void group_clear(void) {
    group.job_count = 0;
    group.text_count = 0;
    group.tokens = 0;
}

/* Adds a job, whose texts are encoded with those before it. */
static void group_add(struct call *c, const struct embed_settings *s, const struct embed_model *m, struct bytes chunk) {
    struct group_job *j = &group.jobs[group.job_count];
    size_t before = group.text_count;
    *j = (struct group_job){.call = c, .settings = *s, .model = m};
    j->rc = add_texts(c, m, group.job_count++, chunk);
    if (j->rc != 0)
        group.text_count = before;
}

/* Adds a job that waits for its turn to be told. */
static void group_add_done(struct call *c, int rc) {
    group.jobs[group.job_count++] = (struct group_job){.call = c, .rc = rc};
}

/* ---- a call of the encoder --------------------------------------------------------------------------------------- */

static bool go_on(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < group.job_count; i++)
        if (group.jobs[i].model != NULL && group.jobs[i].rc == 0 && !call_cancelled(group.jobs[i].call))
            return true;
    return false;
}

/* Writes the vector of a text to the part of its job. */
static void write_row(const struct waiting *w, float *vector) {
    struct group_job *j = &group.jobs[w->job];
    struct embed_row row = {w->text.place, w->text.tokens};
    if (j->rc != 0)
        return;
    if (!encoder_all_finite(vector, j->settings.dimensions)) {
        j->rc = call_fail(j->call, CALL_FAILED, NULL, "the model %s gives text %u a vector that is not finite",
                          j->model->name, w->text.place);
        return;
    }
    if (j->settings.normalize)
        encoder_normalize(vector, j->settings.dimensions);
    if (part_write(j->call, &row, sizeof row) != 0 ||
        part_write(j->call, vector, j->settings.dimensions * sizeof(float)) != 0) {
        j->rc = -1;
        return;
    }
    call_count(j->call, EMBED_TOKENS, w->text.size);
    call_count(j->call, EMBED_TEXTS, 1);
}

static bool make_room(const struct embed_model *m, size_t count, size_t tokens) {
    if (group.scratch == NULL)
        group.scratch = encoder_scratch_new();
    return group.scratch != NULL && grow((void **)&group.ids, &group.id_room, tokens, sizeof *group.ids) &&
           grow((void **)&group.starts, &group.row_room, count + 1, sizeof *group.starts) &&
           grow((void **)&group.vectors, &group.vector_room, count * m->dimensions, sizeof *group.vectors);
}

/* Encodes so many texts, those in `picked`. */
static void encode(const struct embed_model *m, size_t count, size_t tokens) {
    size_t at = 0;
    int rc = make_room(m, count, tokens) ? 0 : -1;
    errno = ENOMEM;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct waiting *w = group.picked[i];
        group.starts[i] = (uint32_t)at;
        memcpy(group.ids + at, w->ids, w->text.size * sizeof *w->ids);
        at += w->text.size;
        group.starts[i + 1] = (uint32_t)at;
    }
    if (rc == 0)
        rc = encoder_run(m->encoder, group.scratch, group.ids, group.starts, count, group.vectors, go_on, NULL);
    bool no_memory = rc != 0 && errno == ENOMEM;
    call_count(group.jobs[group.picked[0]->job].call, EMBED_CALLS, 1);
    for (size_t i = 0; i < count; i++) {
        struct group_job *j = &group.jobs[group.picked[i]->job];
        if (rc == 0)
            write_row(group.picked[i], group.vectors + i * m->dimensions);
        else if (j->rc == 0)
            j->rc = no_memory ? call_fail(j->call, CALL_MEMORY, NULL, "no memory for %zu tokens", tokens) : -1;
    }
}

/* Picks texts of that model from `*at` on, as many as go into a call, and moves `*at` behind them. Returns how many. */
static size_t pick(const struct embed_model *m, size_t *at, size_t *tokens) {
    size_t count = 0;
    *tokens = 0;
    for (; *at < group.text_count; ++*at) {
        const struct waiting *w = &group.texts[*at];
        if (group.jobs[w->job].model != m)
            continue;
        if (count > 0 && *tokens + w->text.size > EMBED_CALL_TOKENS)
            break;
        group.picked[count++] = w;
        *tokens += w->text.size;
    }
    return count;
}

/* Encodes the texts of that model. *done: how many texts are. */
static void encode_model(const struct embed_model *m, size_t *done) {
    size_t at = 0, count, tokens;
    while ((count = pick(m, &at, &tokens)) > 0) {
        if (go_on(NULL))
            encode(m, count, tokens);
        *done += count;
        call_progress(group.jobs[group.picked[0]->job].call, *done, group.text_count);
    }
}

static bool is_before(unsigned job, const struct embed_model *m) {
    for (unsigned i = 0; i < job; i++)
        if (group.jobs[i].model == m)
            return true;
    return false;
}

static void encode_all(void) {
    size_t done = 0;
    for (unsigned i = 0; i < group.job_count && done < group.text_count; i++)
        if (group.jobs[i].model != NULL && !is_before(i, group.jobs[i].model))
            encode_model(group.jobs[i].model, &done);
    for (unsigned i = 0; i < group.job_count; i++)
        if (group.jobs[i].model != NULL && call_cancelled(group.jobs[i].call))
            group.jobs[i].rc = -1;
}

/* ---- handler.h --------------------------------------------------------------------------------------------------- */

int embeddings_run(struct call *c, struct bytes common, struct bytes chunk) {
    struct embed_settings settings;
    const struct embed_model *m = embed_settings_read(c, common, &settings);
    if (m == NULL)
        return -1;
    if (m->files == NULL)
        return hash_run(c, &settings, m, chunk);
    group_clear();
    group_add(c, &settings, m, chunk);
    encode_all();
    return group.jobs[0].rc;
}

/* Encodes what is in the group, and tells all its jobs that they are done. */
static void finish_group(struct batch *b) {
    encode_all();
    for (unsigned i = 0; i < group.job_count; i++)
        batch_done(b, group.jobs[i].rc);
    group_clear();
}

/* Takes one call, and adds it to the group. True: the group has room for more. False: there is no call, or the group has
 * no room for another job, or its texts fill a chunk's time, or nobody in it waits for the encoder. */
static bool take(struct batch *b, bool *at_end) {
    struct embed_settings settings;
    struct bytes common, chunk;
    struct call *c = batch_next(b, &common, &chunk);
    *at_end = c == NULL;
    if (c == NULL)
        return false;
    const struct embed_model *m = embed_settings_read(c, common, &settings);
    if (m != NULL && m->files != NULL) {
        group_add(c, &settings, m, chunk);
        return group.job_count < BATCH_MAX && group.tokens < embed_chunk_tokens(m);
    }
    group_add_done(c, m == NULL ? -1 : hash_run(c, &settings, m, chunk));
    return group.job_count < BATCH_MAX && group.text_count > 0;
}

void embeddings_run_batch(struct batch *b) {
    bool at_end = false;
    group_clear();
    while (!at_end)
        if (!take(b, &at_end) && group.job_count > 0)
            finish_group(b);
}
