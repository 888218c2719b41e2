/* canonical.c: the canonical form of a JSON text, and its hash (host.h). Members are in the order of their names, there
 * is no space, and numbers are written by their value: 1e3, 1000 and 1000.0 are the same. Unlike RFC 8785, it keeps
 * integers of any size apart. It is written from the text, and hashed piece by piece: of an object only the places of
 * its members are kept, to sort them.
 *
 * It runs in the front end for small bodies, and in workers for large ones. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "handlers/host/canonical.h"
#include "handlers/host/host.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/number.h"

static void put_digits(struct buf *out, const char *text, size_t size) {
    struct integer integer;
    if (number_to_integer(text, size, &integer) == NUMBER_OK)
        buf_append(out, integer.digits, integer.size);
    else
        buf_append(out, text, size);
}

static void put_real(struct buf *out, double value) {
    struct buf text = {0};
    number_put_double(&text, value);
    put_digits(out, text.data == NULL ? "" : text.data, text.size);
    buf_deinit(&text);
}

/* Writes a number that jansson does not keep. */
static void put_number(struct buf *out, const json_t *value, const char *text, size_t size) {
    struct integer integer;
    double real;
    if (number_to_integer(text, size, &integer) != NUMBER_OK && jsontext_real(value, &real))
        put_real(out, real);
    else
        put_digits(out, text, size);
}

/* Writes a number, true, false or null. */
static void put_scalar(struct buf *out, const json_t *value) {
    const char *text;
    char digits[32];
    size_t size;
    if (jsontext_number(value, &text, &size)) {
        put_number(out, value, text, size);
        return;
    }
    switch (json_typeof(value)) {
    case JSON_INTEGER:
        size = (size_t)snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        buf_append(out, digits, size);
        break;
    case JSON_REAL: put_real(out, json_real_value(value)); break;
    case JSON_TRUE: buf_puts(out, "true"); break;
    case JSON_FALSE: buf_puts(out, "false"); break;
    default: buf_puts(out, "null"); break;
    }
}

/* ---- from the text ----------------------------------------------------------------------------------------------- */

#define FLUSH_SIZE 65536

/* What is written is hashed piece by piece. The text was checked, and is shorter than 4 GiB. */
struct writer {
    const char *text, *end;
    struct buf out;
    struct hash *hash;
    bool failed;
};

/* A member of an object, by offsets into the text. */
struct member {
    uint32_t name, value;
};

static void flush(struct writer *w, size_t more_than) {
    if (w->out.size <= more_than)
        return;
    w->failed |= w->out.failed || hash_add(w->hash, w->out.data, w->out.size) != 0;
    buf_clear(&w->out);
}

static struct json_span name_of(const struct writer *w, const struct member *m) {
    const char *at = w->text + m->name;
    return (struct json_span){at, scan_whole_value(at, w->end)};
}

static int by_name(const void *a, const void *b, void *writer) {
    struct json_span x = name_of(writer, a), y = name_of(writer, b);
    return scan_compare(&x, &y);
}

/* Finds all members of the object at `at`, in the order of their names. *end is behind the object. NULL if memory ran
 * out. */
static struct member *list_members(struct writer *w, const char *at, size_t *count, const char **end) {
    struct json_span name, value;
    struct buf list = {0};
    for (at++; scan_next_member(&at, w->end, &name, &value);) {
        struct member m = {(uint32_t)(name.at - w->text), (uint32_t)(value.at - w->text)};
        buf_append(&list, &m, sizeof m);
    }
    *end = at;
    *count = list.size / sizeof(struct member);
    buf_append(&list, "", 0); /* so that an empty list has memory, too */
    if (list.failed) {
        buf_deinit(&list);
        return NULL;
    }
    struct member *members = (void *)list.data;
    qsort_r(members, *count, sizeof *members, by_name, w);
    return members;
}

static const char *put_value(struct writer *w, const char *at);

static const char *put_object(struct writer *w, const char *at) {
    size_t count;
    struct member *members = list_members(w, at, &count, &at);
    w->failed |= members == NULL;
    buf_putc(&w->out, '{');
    for (size_t i = 0; i < count && !w->failed; i++) {
        struct json_span name = name_of(w, &members[i]);
        if (i > 0)
            buf_putc(&w->out, ',');
        jsontext_copy_string(&w->out, &name);
        buf_putc(&w->out, ':');
        put_value(w, w->text + members[i].value);
    }
    buf_putc(&w->out, '}');
    free(members);
    return at;
}

static const char *put_array(struct writer *w, const char *at) {
    bool first = true;
    buf_putc(&w->out, '[');
    for (at = scan_space(at + 1, w->end); *at != ']' && !w->failed; at = scan_space(at, w->end), first = false) {
        if (!first) {
            buf_putc(&w->out, ',');
            at = scan_space(at + 1, w->end);
        }
        at = put_value(w, at);
    }
    buf_putc(&w->out, ']');
    return at + 1;
}

/* Returns the end of the value. The recursion is as deep as the value, which was checked. */
static const char *put_value(struct writer *w, const char *at) {
    flush(w, FLUSH_SIZE);
    if (*at == '{')
        return put_object(w, at);
    if (*at == '[')
        return put_array(w, at);
    struct json_span value = {at, scan_whole_value(at, w->end)};
    if (*at == '"') {
        jsontext_copy_string(&w->out, &value);
        return value.end;
    }
    if (scan_plain_integer(at, value.end, 18) == value.end) {
        buf_append(&w->out, at, (size_t)(value.end - at));
        return value.end;
    }
    json_t *scalar = jsontext_shallow(&value);
    w->failed |= scalar == NULL;
    if (scalar != NULL)
        put_scalar(&w->out, scalar);
    json_decref(scalar);
    return value.end;
}

int canonical_hash(const void *json, size_t size, uint8_t hash[32], struct fault *fault) {
    struct writer w = {.text = json, .end = (const char *)json + size, .hash = hash_begin()};
    w.failed = w.hash == NULL;
    if (!w.failed) {
        put_value(&w, scan_space(w.text, w.end));
        flush(&w, 0);
    }
    w.failed |= w.out.failed;
    buf_deinit(&w.out);
    if (w.hash != NULL)
        hash_end(w.hash, hash);
    return w.failed ? fault_set(fault, "memory_limit", "there is no memory for the request") : 0;
}

int host_request_hash(const void *json, size_t size, unsigned max_depth, uint8_t hash[32], struct fault *fault) {
    if (jsontext_check(json, size, max_depth, fault) != 0)
        return -1;
    return canonical_hash(json, size, hash, fault);
}
