/* canonical.h: the hash of JSON that was checked (jsontext_check), in its canonical form. Private to handlers/host. Only
 * one thread of a process may call it. */
#ifndef OFFLOAD_HOST_CANONICAL_H
#define OFFLOAD_HOST_CANONICAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "handlers/host/fault.h"

/* As host_request_hash. */
MUST_CHECK int canonical_hash(const void *json, size_t size, uint8_t hash[32], struct fault *fault);

#endif
