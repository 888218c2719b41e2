/* attach_value.c: see attach_value.h. The values are short, so jansson reads them.
 *
 * It runs in the front end for small submissions, and in workers for large ones. */
#include "handlers/host/attach_value.h"

#include <jansson.h>
#include <stdlib.h>

#define MAX_OBJECT 1024 /* bytes */

static bool is_size(const json_t *value, uint64_t fallback, uint64_t *size) {
    *size = fallback;
    if (value == NULL)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *size = (uint64_t)json_integer_value(value);
    return true;
}

/* {"name", "offset", "length"}. NULL: it is right. */
static const char *read_shm(const json_t *shm, struct attach_named *e) {
    const char *name = json_string_value(json_object_get(shm, "name"));
    size_t known = 1 + (json_object_get(shm, "offset") != NULL) + (json_object_get(shm, "length") != NULL);
    if (!json_is_object(shm) || name == NULL || json_object_size(shm) != known)
        return "\"shm\" must be an object of name, and perhaps offset and length";
    if (strlen(name) != json_string_length(json_object_get(shm, "name")))
        return "the name of shared memory cannot have a NUL";
    if (!is_size(json_object_get(shm, "offset"), 0, &e->offset) ||
        !is_size(json_object_get(shm, "length"), UINT64_MAX, &e->size))
        return "offset and length must be integers from 0 up";
    e->name = strdup(name);
    return NULL;
}

const char *attach_read_named(const struct json_span *value, struct attach_named *e) {
    static const char forms[] =
        "must be base64, or an object with one of these members: \"part\" (the number of a data part), \"job\" (the id "
        "of a job that has ended), \"shm\"";
    size_t size = (size_t)(value->end - value->at);
    json_t *object = size > MAX_OBJECT ? NULL : json_loadb(value->at, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    const json_t *job = json_object_get(object, "job"), *shm = json_object_get(object, "shm");
    const char *why = NULL;
    if (json_object_size(object) != 1 || (job == NULL && shm == NULL)) {
        why = forms;
    } else if (shm != NULL) {
        why = read_shm(shm, e);
    } else if (!json_is_string(job) || strlen(json_string_value(job)) != json_string_length(job)) {
        why = "\"job\" must be the id of a job";
    } else {
        e->is_job = true;
        e->name = strdup(json_string_value(job));
    }
    json_decref(object);
    return why;
}

const char *attach_read(const struct json_span *value, uint32_t *number) {
    static const char bad_part[] = "\"part\" must be the number of a data part, from 0 up";
    struct attach_named named = {0};
    if (*value->at == '"')
        return "is no base64 (RFC 4648, section 4), which has no white space";
    if (*value->at == '{' && (size_t)(value->end - value->at) <= MAX_OBJECT) {
        json_t *object = json_loadb(value->at, (size_t)(value->end - value->at), JSON_ALLOW_NUL, NULL);
        const json_t *part = json_object_get(object, "part");
        json_int_t n = json_is_integer(part) ? json_integer_value(part) : -1;
        bool is_part = part != NULL && json_object_size(object) == 1;
        json_decref(object);
        *number = (uint32_t)n;
        if (is_part)
            return n < 0 || n >= UINT32_MAX ? bad_part : NULL;
    }
    const char *why = attach_read_named(value, &named);
    free(named.name);
    return why != NULL ? why : "cannot be named here"; /* attach_lower has left none of these */
}
