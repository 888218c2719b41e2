/* canonical.c: the canonical form of a JSON text, and its hash (host.h). Members are in the order of their names, there
 * is no space, and numbers are written by their value: 1e3, 1000 and 1000.0 are the same. Unlike RFC 8785, it keeps
 * integers of any size apart.
 *
 * It runs in the front end for small bodies, and in workers for large ones. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
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

static int by_name(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static void put_value(struct buf *out, json_t *value);

static void put_object(struct buf *out, json_t *object) {
    size_t count = json_object_size(object), i = 0;
    const char **names = calloc(count + 1, sizeof *names), *name;
    json_t *member;
    out->failed = out->failed || names == NULL;
    if (names == NULL)
        return;
    json_object_foreach(object, name, member) {
        names[i++] = name;
    }
    qsort(names, count, sizeof *names, by_name);
    buf_putc(out, '{');
    for (i = 0; i < count; i++) {
        if (i > 0)
            buf_putc(out, ',');
        buf_json_string(out, names[i], strlen(names[i]));
        buf_putc(out, ':');
        put_value(out, json_object_get(object, names[i]));
    }
    buf_putc(out, '}');
    free(names);
}

static void put_array(struct buf *out, json_t *array) {
    size_t i;
    json_t *member;
    buf_putc(out, '[');
    json_array_foreach(array, i, member) {
        if (i > 0)
            buf_putc(out, ',');
        put_value(out, member);
    }
    buf_putc(out, ']');
}

/* The recursion is as deep as the value, which the parser has bounded. */
static void put_value(struct buf *out, json_t *value) {
    const char *text;
    char digits[32];
    size_t size;
    if (jsontext_number(value, &text, &size)) {
        put_number(out, value, text, size);
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT: put_object(out, value); break;
    case JSON_ARRAY: put_array(out, value); break;
    case JSON_STRING: buf_json_string(out, json_string_value(value), json_string_length(value)); break;
    case JSON_INTEGER:
        size = (size_t)snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        buf_append(out, digits, size);
        break;
    case JSON_REAL: put_real(out, json_real_value(value)); break;
    case JSON_TRUE: buf_puts(out, "true"); break;
    case JSON_FALSE: buf_puts(out, "false"); break;
    case JSON_NULL: buf_puts(out, "null"); break;
    }
}

int host_request_hash(const void *json, size_t size, unsigned max_depth, uint8_t hash[32], struct fault *fault) {
    struct buf text = {0};
    json_t *value = jsontext_parse(json, size, max_depth, fault);
    if (value == NULL)
        return -1;
    put_value(&text, value);
    json_decref(value);
    int rc = 0;
    if (text.failed || hash_sha256(text.data, text.size, hash) != 0)
        rc = fault_set(fault, "memory_limit", "there is no memory for the request");
    buf_deinit(&text);
    return rc;
}
