/* attach_value.h: reads the value of a PARAM_BYTES that is an object. Private to handlers/host. These functions have no
 * state: any thread may call them. */
#ifndef OFFLOAD_HOST_ATTACH_VALUE_H
#define OFFLOAD_HOST_ATTACH_VALUE_H

#include "base/attributes.h"
#include "handlers/host/scan.h"

/* {"part": N}, the form that attach.h gives to all values. NULL and the number, or what is wrong with the value. */
MUST_CHECK const char *attach_read(const struct json_span *value, uint32_t *number);

/* {"job": ID}, or {"shm": {"name", "offset", "length"}}. */
struct attach_named {
    bool is_job;
    char *name;            /* heap: the id or the name; NULL: memory ran out */
    uint64_t offset, size; /* of shared memory; UINT64_MAX: up to its end */
};
/* NULL, and the caller frees the name; or what is wrong with the value. */
MUST_CHECK const char *attach_read_named(const struct json_span *value, struct attach_named *out);

#endif
