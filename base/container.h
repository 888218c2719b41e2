/* container.h: finds the struct that embeds a member. Watches, timers, waiters and list entries are embedded by their
 * owners, and a callback gets the member. */
#ifndef OFFLOAD_CONTAINER_H
#define OFFLOAD_CONTAINER_H

#include <stddef.h>

/* The struct of type `type` whose `member` is at `pointer`. */
#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
/* The same of a member that is only read. */
#define container_of_const(pointer, type, member)                                                                      \
    ((const type *)(const void *)((const char *)(pointer)-offsetof(type, member)))

#endif
