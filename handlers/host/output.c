/* output.c: what handlers write: the parts, and the JSON of a result. The JSON writer is a small state machine with a
 * state for each open array or object, and one for the document. So a mistake in a handler fails the job, and never
 * makes broken JSON:
 *
 *     DOCUMENT_START ──value──► DOCUMENT_END
 *
 *     ARRAY_START ──value──► ARRAY_MORE ◄─┐
 *                                └──value─┘
 *
 *     OBJECT_START ──name──► OBJECT_VALUE ──value──► OBJECT_MORE
 *                                 ▲                       │
 *                                 └─────────name──────────┘
 *
 * "[" or "{" is a value of the state around it and begins a new one. "]" or "}" ends it, but not in OBJECT_VALUE.
 *
 * It runs in workers. */
#include "handlers/host/call.h"

#include <math.h>

#include "handlers/host/number.h"
#include "handlers/host/scan.h"

int part_write(struct call *c, const void *bytes, size_t size) {
    if (c->stage != CALL_STAGE_RUN)
        return call_fail(c, CALL_FAILED, NULL, "handler wrote a part outside run");
    if (c->hooks != NULL && c->hooks->output != NULL && c->hooks->output->has_fd)
        return call_fail(c, CALL_FAILED, NULL, "handler wrote to a part that is in a memfd");
    buf_append(c->out, bytes, size);
    return c->out->failed ? call_fail(c, CALL_MEMORY, NULL, "there is no memory for a part of the result") : 0;
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

static void fail_malformed(struct call *c) {
    call_fail(c, CALL_FAILED, NULL, "handler wrote malformed JSON");
}

/* Begins a value: moves the state, and writes the comma. False if there cannot be a value here, which fails the
 * call. */
static bool begin_value(struct call *c) {
    if (c->failed)
        return false;
    unsigned char *state = &c->json_states[c->json_depth];
    switch (c->stage == CALL_STAGE_MERGE ? *state : JSON_DOCUMENT_END) {
    case JSON_ARRAY_MORE: buf_putc(c->out, ','); return true;
    case JSON_ARRAY_START: *state = JSON_ARRAY_MORE; return true;
    case JSON_OBJECT_VALUE: *state = JSON_OBJECT_MORE; return true;
    case JSON_DOCUMENT_START: *state = JSON_DOCUMENT_END; return true;
    default: fail_malformed(c); return false;
    }
}

static void begin_level(struct call *c, char bracket, enum json_state state) {
    if (!begin_value(c))
        return;
    if (c->json_depth == JSON_MAX_NESTING) {
        fail_malformed(c);
        return;
    }
    buf_putc(c->out, bracket);
    c->json_states[++c->json_depth] = (unsigned char)state;
}

static void end_level(struct call *c, char bracket, enum json_state start, enum json_state more) {
    if (c->failed)
        return;
    unsigned state = c->json_states[c->json_depth];
    if (c->json_depth == 0 || (state != start && state != more)) {
        fail_malformed(c);
        return;
    }
    buf_putc(c->out, bracket);
    c->json_depth--;
}

void output_finish(struct call *c) {
    const struct host_output *o = c->hooks == NULL ? NULL : c->hooks->output;
    bool binary = o != NULL && o->source != HOST_SOURCE_JSON; /* then there need be no JSON */
    if (!c->failed && (c->json_depth > 0 || (c->json_states[0] != JSON_DOCUMENT_END &&
                                             !(binary && c->json_states[0] == JSON_DOCUMENT_START))))
        fail_malformed(c);
    if (c->out->failed)
        call_fail(c, CALL_MEMORY, NULL, "there is no memory for the result");
}

/* ---- the writer -------------------------------------------------------------------------------------------------- */

void json_begin_object(struct call *c) {
    begin_level(c, '{', JSON_OBJECT_START);
}

void json_end_object(struct call *c) {
    end_level(c, '}', JSON_OBJECT_START, JSON_OBJECT_MORE);
}

void json_begin_array(struct call *c) {
    begin_level(c, '[', JSON_ARRAY_START);
}

void json_end_array(struct call *c) {
    end_level(c, ']', JSON_ARRAY_START, JSON_ARRAY_MORE);
}

/* Writes the name, and a comma before it if there are more. Most names need no escapes. */
static void put_name(struct buf *to, bool more, const char *name, size_t size) {
    if (scan_plain(name, name + size) != name + size) {
        if (more)
            buf_putc(to, ',');
        buf_json_string(to, name, size);
        buf_putc(to, ':');
        return;
    }
    char *at = buf_reserve(to, size + 4);
    if (at == NULL)
        return;
    const char *start = at;
    if (more)
        *at++ = ',';
    *at++ = '"';
    memcpy(at, name, size);
    at += size;
    memcpy(at, "\":", 3);
    to->size += (size_t)(at + 2 - start);
}

void json_name(struct call *c, const char *name) {
    if (c->failed)
        return;
    unsigned char *state = &c->json_states[c->json_depth];
    if (*state != JSON_OBJECT_START && *state != JSON_OBJECT_MORE) {
        fail_malformed(c);
        return;
    }
    bool more = *state == JSON_OBJECT_MORE;
    *state = JSON_OBJECT_VALUE;
    put_name(c->out, more, name, strlen(name));
}

void json_bool(struct call *c, bool value) {
    if (begin_value(c))
        buf_puts(c->out, value ? "true" : "false");
}

static void put_quoted(struct buf *to, const char *digits, size_t size) {
    buf_putc(to, '"');
    buf_append(to, digits, size);
    buf_putc(to, '"');
}

static void put_u64(struct buf *to, uint64_t value, bool quoted) {
    if (quoted)
        buf_putc(to, '"');
    buf_u64(to, value);
    if (quoted)
        buf_putc(to, '"');
}

void json_u64(struct call *c, uint64_t value) {
    if (begin_value(c))
        put_u64(c->out, value, value > (uint64_t)NUMBER_MAX_EXACT);
}

void json_i64(struct call *c, int64_t value) {
    struct integer integer;
    if (!begin_value(c))
        return;
    number_from_i64(value, &integer);
    if (value > NUMBER_MAX_EXACT || value < -NUMBER_MAX_EXACT)
        put_quoted(c->out, integer.digits, integer.size);
    else
        buf_append(c->out, integer.digits, integer.size);
}

void json_digits(struct call *c, const char *digits) {
    size_t size = strlen(digits);
    if (!begin_value(c))
        return;
    if (number_is_canonical(digits, size))
        put_quoted(c->out, digits, size);
    else
        fail_malformed(c);
}

/* JSON has no such numbers (RFC 8259, section 6). An infinity becomes a string, and a NaN is a mistake of the
 * handler. */
static void put_not_finite(struct call *c, double value) {
    if (isnan(value))
        fail_malformed(c);
    else
        buf_puts(c->out, value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
}

void json_double(struct call *c, double value) {
    if (!begin_value(c))
        return;
    if (isfinite(value))
        number_put_double(c->out, value);
    else
        put_not_finite(c, value);
}

static void put_float(struct call *c, float value) {
    if (isfinite(value))
        number_put_float(c->out, value);
    else
        put_not_finite(c, (double)value);
}

void json_float(struct call *c, float value) {
    if (begin_value(c))
        put_float(c, value);
}

void json_text(struct call *c, const char *text, size_t size) {
    if (begin_value(c))
        buf_json_string(c->out, text, size);
}

void json_u64_array(struct call *c, const uint64_t *values, size_t count) {
    bool quoted = false;
    for (size_t i = 0; i < count; i++)
        quoted |= values[i] > (uint64_t)NUMBER_MAX_EXACT;
    if (!begin_value(c))
        return;
    buf_putc(c->out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_putc(c->out, ',');
        put_u64(c->out, values[i], quoted);
    }
    buf_putc(c->out, ']');
}

void json_float_array(struct call *c, const float *values, size_t count) {
    if (!begin_value(c))
        return;
    buf_putc(c->out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_putc(c->out, ',');
        put_float(c, values[i]);
    }
    buf_putc(c->out, ']');
}

void json_verbatim(struct call *c, const char *json, size_t size) {
    if (!begin_value(c))
        return;
    const char *end = size > 0 ? json + size : json;
    json = scan_space(json, end);
    while (end > json && scan_space(end - 1, end) == end)
        end--;
    if (json == end)
        fail_malformed(c);
    buf_append(c->out, json, (size_t)(end - json));
}
