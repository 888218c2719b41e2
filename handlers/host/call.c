/* call.c: the functions of handler.h about a call under way, and those for plan. A call fails only once: the client
 * gets the first reason.
 *
 * It runs in workers. */
#include "handlers/host/call.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/array.h"
#include "handlers/host/registry.h"

/* ---- handler.h: a call ------------------------------------------------------------------------------------------- */

enum { REASON_MAX = 501 };

static void fail_at(struct call *c, const char *code, const char *pointer, const char *reason) {
    struct faults faults = {.code = code};
    struct buf whole = {0};
    static const struct place params = {.name = "params"};
    place_write_below(&whole, c->at != NULL ? c->at : &params, pointer);
    faults_add_pointer(&faults, whole.failed ? "/params" : whole.data, reason);
    faults_finish(&faults, c->fault);
    buf_deinit(&whole);
}

int call_fail(struct call *c, enum call_error error, const char *pointer, const char *format, ...) {
    char reason[REASON_MAX];
    va_list args;
    if (c->failed)
        return -1;
    c->failed = true;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    switch (error) {
    case CALL_INVALID: fail_at(c, "invalid_params", pointer, reason); break;
    case CALL_NOT_FOUND: fail_at(c, "not_found", pointer, reason); break;
    case CALL_MEMORY: fault_set(c->fault, "memory_limit", "%s", reason); break;
    case CALL_FAILED: fault_set(c->fault, "handler_failed", "%s", reason); break;
    }
    return -1;
}

/* The longest beginning of the text that has at most that many bytes and ends at a character. */
static size_t front_size(const char *text, size_t most) {
    size_t n = strnlen(text, most + 1);
    if (n <= most)
        return n;
    n = most;
    while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    return n;
}

/* The longest end of the text that has at most that many bytes and begins at a character. */
static const char *last_bytes(const char *text, size_t most) {
    size_t size = strlen(text);
    const char *at = text + (size > most ? size - most : 0);
    while (at > text && ((unsigned char)*at & 0xC0) == 0x80)
        at++;
    return at;
}

int call_fail_exception(struct call *c, const char *exception, const char *detail, const char *traceback) {
    struct buf *json = &c->fault->json;
    if (c->failed)
        return -1;
    c->failed = true;
    detail = detail != NULL ? detail : exception != NULL ? exception : "the call failed";
    buf_clear(json);
    buf_puts(json, "{\"code\":\"handler_failed\",\"detail\":");
    buf_json_string(json, detail, front_size(detail, EXCEPTION_DETAIL_MAX));
    if (exception != NULL) {
        buf_puts(json, ",\"exception\":");
        buf_json_string(json, exception, front_size(exception, EXCEPTION_MAX));
    }
    const char *last = traceback == NULL ? "" : last_bytes(traceback, TRACEBACK_MAX);
    size_t size = strlen(last), *left = c->tracebacks != NULL ? c->tracebacks : &c->traceback_left;
    if (size > 0 && size <= *left) {
        buf_puts(json, ",\"traceback\":");
        buf_json_string(json, last, size);
        *left -= size;
    }
    buf_putc(json, '}');
    return -1;
}

void call_progress(struct call *c, uint64_t done, uint64_t total) {
    if (c->hooks != NULL && c->hooks->progress != NULL)
        c->hooks->progress(c->hooks->arg, done, total);
}

static _Atomic uint64_t *counts; /* of this process */

void host_count_into(_Atomic uint64_t *to) {
    counts = to;
}

void call_count(struct call *c, unsigned counter, uint64_t n) {
    size_t at = registry_counter(c->handler, counter);
    if (counts != NULL && at < HOST_MAX_COUNTERS)
        atomic_fetch_add_explicit(&counts[at], n, memory_order_relaxed);
}

bool call_cancelled(const struct call *c) {
    return c->hooks != NULL && c->hooks->cancelled != NULL && c->hooks->cancelled(c->hooks->arg);
}

const void *call_data(const struct call *c) {
    return c->handler->data;
}

unsigned call_attempt(const struct call *c) {
    return c->attempt;
}

int64_t call_deadline(const struct call *c) {
    return c->hooks != NULL ? c->hooks->deadline_ns : 0;
}

void call_log(struct call *c, const char *text, size_t size) {
    if (size > 0 && c->hooks != NULL && c->hooks->log != NULL)
        c->hooks->log(c->hooks->arg, text, size);
}

static void fill_loss(struct host_loss *loss, enum host_cause cause, const struct call_loss *how) {
    *loss = (struct host_loss){cause, how->signal, how->exit_code, how->max_rss_bytes, how->cpu_ms, {0}};
    const char *words = how->last_words != NULL ? how->last_words : "";
    size_t size = strlen(words), skip = size > HANDLER_MAX_LAST_WORDS ? size - HANDLER_MAX_LAST_WORDS : 0;
    buf_append(&loss->last_words, words + skip, size - skip);
    if (loss->last_words.failed)
        buf_deinit(&loss->last_words); /* the loss is worth more than its last words */
}

int call_lost(struct call *c, const struct call_loss *how) {
    struct host_loss *loss = &c->fault->loss;
    if (c->failed)
        return -1;
    enum host_cause cause = how->cause == NULL ? HOST_NOT_LOST : host_find_cause(how->cause);
    if (cause == HOST_NOT_LOST)
        return call_fail(c, CALL_FAILED, NULL, "the %s handler reports a loss of an unknown cause", c->handler->name);
    c->failed = true;
    fill_loss(loss, cause, how);
    return -1;
}

void call_process_died(struct call *c, const struct call_loss *how) {
    enum host_cause cause = how->cause == NULL ? HOST_NOT_LOST : host_find_cause(how->cause);
    struct host_loss loss;
    if (cause == HOST_NOT_LOST || c->hooks == NULL || c->hooks->died == NULL)
        return;
    fill_loss(&loss, cause, how);
    c->hooks->died(c->hooks->arg, &loss);
    buf_deinit(&loss.last_words);
}

/* ---- handler.h: plan --------------------------------------------------------------------------------------------- */

unsigned plan_wanted_chunks(const struct call *c) {
    return c->wanted_chunks;
}

/* Adds a chunk of the two pieces, one behind the other. */
static int add_chunk(struct call *c, struct bytes front, struct bytes rest, uint64_t cost_ns) {
    static const char zeros[8];
    if (c->stage != CALL_STAGE_PLAN)
        return call_fail(c, CALL_FAILED, NULL, "handler planned a chunk outside plan");
    if (c->plan->count == HANDLER_MAX_CHUNKS)
        return call_fail(c, CALL_FAILED, NULL, "handler planned more than %d chunks", HANDLER_MAX_CHUNKS);
    struct buf *to = &c->plan->bytes;
    buf_append(to, zeros, -to->size & 7);
    size_t offset = to->size;
    buf_append(to, front.data, front.size);
    buf_append(to, rest.data, rest.size);
    if (to->failed || GROW_ARRAY(&c->plan->chunks, c->plan->count, &c->plan_room) != 0)
        return call_fail(c, CALL_MEMORY, NULL, "there is no memory for the chunks");
    c->plan->chunks[c->plan->count++] =
        (struct host_plan_chunk){cost_ns, offset, front.size + rest.size, 0, UINT32_MAX};
    return 0;
}

int plan_chunk(struct call *c, const void *bytes, size_t size, uint64_t cost_ns) {
    return add_chunk(c, (struct bytes){NULL, 0}, (struct bytes){bytes, size}, cost_ns);
}

int plan_number_chunk(struct call *c, struct number_reader *r, size_t count, uint64_t cost_ns) {
    const unsigned char *first = r->at;
    uint64_t front = count;
    if (numbers_skip(r, count) != 0)
        return call_fail(c, CALL_FAILED, NULL, "handler planned more numbers than there are");
    return add_chunk(c, (struct bytes){&front, sizeof front}, (struct bytes){first, (size_t)(r->at - first)}, cost_ns);
}

int plan_common(struct call *c, const void *bytes, size_t size) {
    if (c->stage != CALL_STAGE_PLAN)
        return call_fail(c, CALL_FAILED, NULL, "handler set common bytes outside plan");
    if (size > HANDLER_MAX_COMMON - c->plan->common.size)
        return call_fail(c, CALL_FAILED, NULL, "handler has more than %d common bytes", HANDLER_MAX_COMMON);
    buf_append(&c->plan->common, bytes, size);
    return c->plan->common.failed ? call_fail(c, CALL_MEMORY, NULL, "there is no memory for the plan") : 0;
}
