/* registry.h: the types of this process with their parameter tables. Private to handlers/host; host.h has the rest. */
#ifndef OFFLOAD_HOST_REGISTRY_H
#define OFFLOAD_HOST_REGISTRY_H

#include "handlers/host/host.h"
#include "handlers/host/params.h"

const struct params_table *registry_table(size_t type); /* NULL: a hole, or beyond host_count() */

/* Sets the options of a submission of that type that gives none. */
void registry_init_options(size_t type, struct submission_options *o);

/* A type with all that it needs. */
struct registered {
    struct params_table table;
    struct host_type type;
    struct handler handler;  /* of a type that a zygote has described; else type.handler is the one of the type */
    struct arena memory;     /* has what type and handler point to, as far as it is this struct's */
    bool described, builtin; /* by a zygote; in this program */
};
/* Frees it, if it is not NULL. */
void registered_free(struct registered *r);

/* Makes r->table and r->type, of which it copies the texts; r is zeroed but for handler and memory. A type without
 * functions is accepted if `described` is set. 0, or -1 with one line in `error`. */
MUST_CHECK int registered_fill(struct registered *r, const struct host_type *t, struct buf *error);
/* Takes the place of what has this number. NULL: it becomes a hole. Takes r. */
void registry_put(size_t type, struct registered *r);
/* The number of the counter of a built-in handler (host_counter); SIZE_MAX: it has none. */
size_t registry_counter(const struct handler *handler, unsigned counter);
bool registry_is_name(const char *name); /* can a type have it? */
bool registry_is_described(size_t type);
bool registry_is_builtin(size_t type);

#endif
