/* job.c: see job.h. */
#include "handlers/embed/job.h"

#include <string.h>

uint32_t embed_chunk_tokens(const struct embed_model *m) {
    uint64_t left_ns =
        m->call_cost_ns < HANDLER_CHUNK_NS / 2 ? HANDLER_CHUNK_NS - m->call_cost_ns : HANDLER_CHUNK_NS / 2;
    uint64_t tokens = left_ns / m->unit_cost_ns;
    return tokens < 16 ? 16 : tokens > EMBED_CALL_TOKENS ? EMBED_CALL_TOKENS : (uint32_t)tokens;
}

const struct embed_model *embed_settings_read(struct call *c, struct bytes common, struct embed_settings *to) {
    const struct embed_model *m = NULL;
    memset(to, 0, sizeof *to);
    if (common.size == sizeof *to)
        memcpy(to, common.data, sizeof *to);
    if (to->model[0] == '\0' || memchr(to->model, '\0', sizeof to->model) == NULL) {
        call_fail(c, CALL_FAILED, NULL, "the settings of the job are damaged");
        return NULL;
    }
    m = models_find(to->model, strlen(to->model));
    if (m != NULL && to->dimensions >= 1 && to->dimensions <= m->dimensions && to->encoding <= EMBEDDINGS_NPY)
        return m;
    call_fail(c, CALL_FAILED, NULL, "the model %s is no longer as it was when the job was accepted", to->model);
    return NULL;
}

bool embed_next_text(const struct embed_model *m, struct bytes *rest, struct embed_text *text, struct bytes *bytes) {
    if (rest->size < sizeof *text)
        return false;
    memcpy(text, rest->data, sizeof *text);
    const char *at = (const char *)rest->data + sizeof *text;
    uint64_t left = rest->size - sizeof *text, size = text->size;
    if (m->files != NULL)
        size *= sizeof(uint32_t);
    uint64_t padded = (size + 3) / 4 * 4;
    if (padded > left)
        return false;
    *bytes = (struct bytes){at, size};
    *rest = (struct bytes){at + padded, left - padded};
    return true;
}
