/* memfd.h: memory that has a descriptor, see memfd_create(2). Any process, any thread. */
#ifndef OFFLOAD_MEMFD_H
#define OFFLOAD_MEMFD_H

#include <stddef.h>

#include "base/attributes.h"

/* A new memfd for writing, CLOEXEC, sealable; -1 with errno. */
MUST_CHECK int memfd_new(const char *name);
/* Writes all bytes. 0, or -1 with errno: some can have been written. */
MUST_CHECK int memfd_write(int fd, const void *bytes, size_t size);
/* A new memfd with a copy of the bytes, sealed against every change. -1 with errno. */
MUST_CHECK int memfd_copy(const char *name, const void *bytes, size_t size);

#endif
