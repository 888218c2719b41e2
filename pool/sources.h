/* sources.h: where the job types come from that are not built in, and how the zygote is told. See docs/plugins.md and
 * docs/programs.md. Any process; one thread.
 *
 * The front end writes the sources, and the names of all types in the order of their numbers, as JSON into a sealed
 * memfd. It goes with the first message to the zygote, and from there to a worker that is executed anew. */
#ifndef OFFLOAD_SOURCES_H
#define OFFLOAD_SOURCES_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attributes.h"
#include "base/buf.h"

enum program_start {
    PROGRAM_AUTO, /* forked from its template if it says that it can be */
    PROGRAM_FORK, /* the same, but not to be able to is an error */
    PROGRAM_SPAWN /* executed for each worker */
};

struct program_source {
    const char *const *argv; /* ends with NULL; argv[0] is looked up in PATH */
    const char *const *env;  /* "NAME=value", beside the environment of the service; ends with NULL */
    const char *source;      /* the `source` of its types: "program:node tasks.mjs", "python:tasks.py" */
    enum program_start start;
};

struct pool_sources {
    const char *const *plugins; /* paths */
    size_t plugin_count;
    const struct program_source *programs;
    size_t program_count;
    int64_t load_timeout_ns; /* for each of them */
};

/* A sealed memfd with the sources and the names of this process's types, which the caller closes. -1 with errno. */
MUST_CHECK int sources_write(const struct pool_sources *s);
/* Reads such a memfd: gives all names their numbers (host_number), and fills *s, whose memory is in *memory. 0 or -1. In
 * both cases the caller frees the memory when *s is not used any more. */
MUST_CHECK int sources_read(int fd, struct pool_sources *s, struct arena *memory);

/* Makes a sealed memfd of the bytes, which the caller closes. -1 with errno. */
MUST_CHECK int sources_seal(const char *name, const struct buf *bytes);
/* Appends what is in a sealed memfd of another process. 0; or -1 if it is none, or has more than `most` bytes. */
MUST_CHECK int sources_unseal(int fd, size_t most, struct buf *bytes);

#endif
