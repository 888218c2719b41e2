/* op.c: makes operations, with a copy of all that the store thread needs for them. Front end, event loop's thread. */
#include "server/store/sqlite/op.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct op *op_new(enum op_kind kind, const struct operation *operation, const struct id *id, size_t text_bytes) {
    struct op *op = calloc(1, sizeof *op + text_bytes);
    if (op == NULL)
        return NULL;
    op->kind = kind;
    op->operation = operation;
    op->stored.fd = -1;
    op->payloads = op->few;
    op->time_ms = clock_wall_ms();
    op->text_end = op->text;
    op_hold(op, sizeof *op + text_bytes);
    if (id != NULL)
        op->id = *id;
    return op;
}

void op_hold(struct op *op, size_t bytes) {
    held_add(HELD_STORE, bytes);
    op->held += bytes;
}

void op_free(struct op *op) {
    held_sub(HELD_STORE, op->held);
    for (unsigned i = 0; i < op->payload_count; i++)
        slice_deinit(&op->payloads[i].slice);
    if (op->payloads != op->few)
        free(op->payloads);
    for (size_t i = 0; i < op->found_count; i++)
        record_unref(op->found[i]);
    free(op->found);
    stored_deinit(&op->stored);
    record_unref(op->record);
    free(op);
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

size_t op_text_bytes(const char *text) {
    return text == NULL ? 0 : strlen(text) + 1;
}

size_t op_row_bytes(const struct record *r) {
    size_t log = job_status_is_final(r->status) ? r->log_size + 1 : 0;
    size_t summary = r->binary == NULL ? 0 : r->binary->summary.size + 1;
    return r->lost.size + 1 + r->error.size + 1 + options_text_size(&r->options) + op_text_bytes(r->trace) +
           op_text_bytes(r->tenant) + log + summary;
}

static char *copy_bytes(struct op *op, const char *bytes, size_t size) {
    char *start = op->text_end;
    memcpy(start, bytes, size);
    start[size] = '\0';
    op->text_end += size + 1;
    return start;
}

static char *copy_text(struct op *op, const char *text) {
    return text == NULL ? NULL : copy_bytes(op, text, strlen(text));
}

static struct buf copy_buf(struct op *op, const struct buf *from) {
    if (from->size == 0)
        return (struct buf){0};
    return (struct buf){.data = copy_bytes(op, from->data, from->size), .size = from->size};
}

void op_set_row(struct op *op, const struct record *r) {
    op->row = *r;
    op->row.lost = copy_buf(op, &r->lost);
    op->row.error = copy_buf(op, &r->error);
    op->text_end = options_place_texts(&op->row.options, op->text_end);
    op->row.trace = copy_text(op, r->trace);
    op->row.tenant = copy_text(op, r->tenant);
    op->row.result = (struct slice){NULL, 0, 0};
    if (r->binary != NULL) {
        op->binary = *r->binary;
        op->binary.summary = copy_buf(op, &r->binary->summary);
        op->row.binary = &op->binary;
    }
    op->row.log = NULL;
    if (job_status_is_final(r->status) && r->log_size > 0)
        op->log = copy_bytes(op, r->log->text.data, r->log_size);
}

void op_set_key(struct op *op, const char *tenant, const char *key) {
    op->tenant = copy_text(op, tenant);
    op->key = copy_text(op, key);
}

void op_set_viewer(struct op *op, const char *tenant) {
    op->tenant = copy_text(op, tenant);
    op->filter.tenant = op->tenant;
}

void op_set_webhook(struct op *op, const struct delivery *d) {
    op->url = copy_text(op, d->url);
    op->tries = d->attempt;
    op->webhook_due_ms = d->due_ms;
    op->row.trace = copy_text(op, d->trace);
    op_add_payload(op, FILE_WEBHOOK, 0, &d->body);
}

void op_set_loss(struct op *op, const struct store_chunk *c) {
    op->chunk = c->chunk;
    op->attempt = c->attempt;
    op->poison = op->text_end;
    op->poison_bytes = c->poison_count * sizeof *c->poison;
    if (op->poison_bytes > 0)
        memcpy(op->text_end, c->poison, op->poison_bytes);
    op->text_end += op->poison_bytes;
}

bool op_reserve_payloads(struct op *op, size_t count) {
    if (count <= OP_FEW_PAYLOADS)
        return true;
    op->payloads = calloc(count, sizeof *op->payloads);
    if (op->payloads != NULL)
        op_hold(op, count * sizeof *op->payloads);
    return op->payloads != NULL;
}

void op_add_payload(struct op *op, enum file_role role, uint32_t chunk, const struct slice *slice) {
    op->payloads[op->payload_count++] = (struct payload){.role = role, .chunk = chunk, .slice = slice_ref(slice)};
}

void op_add_attachment(struct op *op, uint32_t number, const struct job_attachment *a) {
    op_add_payload(op, FILE_ATTACHMENT, number, &a->bytes);
    op->payloads[op->payload_count - 1].media_type = copy_text(op, a->media_type);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

void op_call_done(struct op *op, enum store_result result) {
    store_done *done = op->callback.done;
    op->callback.done = NULL; /* it is called once, even if the op is tried again */
    if (done != NULL)
        done(op->arg, result);
}
