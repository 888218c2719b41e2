/* container.h: from a member to the struct that embeds it: watches, timers, waiters and list entries are embedded by
 * their owners, and callbacks get the member. */
#ifndef OFFLOAD_CONTAINER_H
#define OFFLOAD_CONTAINER_H

#include <stddef.h>

/* The struct of that type whose `member` is at `pointer`. */
#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
