/* slice.c: see slice.h. Process: the client. Only brackets, strings and commas matter here, because jansson has already
 * decided whether the text is well-formed. On other text the walk still stays within the bounds. */
#include "cli/slice.h"

#include <string.h>

#include <jansson.h>

static const char *skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

/* p is at the opening quote; returns what follows the closing one. */
static const char *skip_string(const char *p, const char *end) {
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\' && p + 1 < end)
            p++;
    return p < end ? p + 1 : end;
}

static const char *skip_nested(const char *p, const char *end) {
    size_t depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']')
            depth--;
        p++;
        if (depth == 0)
            break;
    }
    return p;
}

static const char *skip_value(const char *p, const char *end) {
    if (p < end && *p == '"')
        return skip_string(p, end);
    if (p < end && (*p == '{' || *p == '['))
        return skip_nested(p, end);
    while (p < end && memchr(",:]} \t\r\n", *p, 8) == NULL)
        p++;
    return p;
}

bool slice_is_json(struct slice text) {
    json_error_t error;
    if (text.size > 0 && memchr(text.data, '\0', text.size) != NULL)
        return false;
    json_t *value = json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    json_decref(value);
    if (value != NULL)
        return true;
    if (json_error_code(&error) != json_error_numeric_overflow)
        return false;
    /* jansson stopped at the number. If the text is one value, the service judges the rest of it. */
    const char *end = text.data + text.size;
    return skip_space(skip_value(skip_space(text.data, end), end), end) == end;
}

struct slice slice_member(struct slice object, const char *name) {
    const char *end = object.data + object.size;
    const char *p = skip_space(object.data, end);
    size_t length = strlen(name);
    while (p < end && *p != '}') {
        const char *key = skip_space(p + 1, end); /* behind the '{' or ',' */
        const char *key_end = skip_value(key, end);
        const char *colon = skip_space(key_end, end);
        const char *value = colon < end ? skip_space(colon + 1, end) : end;
        const char *value_end = skip_value(value, end);
        if ((size_t)(key_end - key) == length + 2 && memcmp(key + 1, name, length) == 0)
            return (struct slice){value, (size_t)(value_end - value)};
        p = skip_space(value_end, end);
    }
    return (struct slice){NULL, 0};
}

bool slice_next(struct slice *rest, struct slice *element) {
    const char *end = rest->data + rest->size;
    const char *p = skip_space(rest->data, end);
    if (p == end || *p == ']')
        return false;
    const char *value = skip_space(p + 1, end); /* behind the '[' or ',' */
    if (value == end || *value == ']')
        return false;
    const char *value_end = skip_value(value, end);
    *element = (struct slice){value, (size_t)(value_end - value)};
    *rest = (struct slice){value_end, (size_t)(end - value_end)};
    return true;
}
