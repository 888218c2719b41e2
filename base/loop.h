/* loop.h: the event loop: file descriptors (epoll(7)), timers, and one `turn` after each batch of
 * events. Front end; one thread. A callback can add and remove any watch or timer, also its own. */
#ifndef OFFLOAD_LOOP_H
#define OFFLOAD_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;

/* Something to watch. Embedded by its owner, who keeps it in place from loop_watch to loop_unwatch. */
struct watch {
    int fd;
    void (*ready)(struct watch *w, uint32_t events); /* EPOLL* bits */
};

/* A time at which `fire` is called. Embedded by its owner, who keeps it in place while it is set. Zero it before its
 * first use. */
struct timer {
    void (*fire)(struct timer *t);
    int64_t due_ns;                      /* CLOCK_MONOTONIC */
    bool is_set;                         /* read by all, written by loop.c */
    struct timer *child, *next, *before; /* loop.c's own: the heap; `before`: the sibling before it, else its parent */
};

struct loop *loop_new(void);    /* NULL with errno */
void loop_free(struct loop *l); /* forgets the watches and timers that are left */

/* Begins to watch for these EPOLL* bits, or changes the bits. Level-triggered, unless they have EPOLLET. 0, or -1 with
 * errno. */
int loop_watch(struct loop *l, struct watch *w, uint32_t events);
int loop_rewatch(struct loop *l, struct watch *w, uint32_t events);
void loop_unwatch(struct loop *l, struct watch *w); /* call it before the fd is closed */

/* Sets or moves a timer. It fires once, and never early. It needs no memory, so it cannot fail. */
void loop_set_timer(struct loop *l, struct timer *t, int64_t due_ns);
void loop_clear_timer(struct loop *l, struct timer *t); /* no effect if not set */

/* The monotonic time at the start of this batch of events: cheaper than asking the clock, and at most one batch old. */
int64_t loop_now_ns(const struct loop *l);

/* Runs until loop_stop. `turn` is called before each batch, for what the last one has left to do. It returns how long
 * the loop can sleep at most, in nanoseconds; -1: until something happens. */
void loop_run(struct loop *l, int64_t (*turn)(void *arg), void *arg);
void loop_stop(struct loop *l); /* loop_run returns after this batch or turn; it can be called again */
/* One batch: waits at most limit_ns (-1: no limit) for events or the first timer, and handles them. */
void loop_step(struct loop *l, int64_t limit_ns);

#endif
