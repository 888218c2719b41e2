/* loop.h: the event loop: file descriptors (epoll), timers (a binary heap), one `turn` after each batch of
 * events. One thread; a callback may add and remove any watch or timer, its own included.
 */
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

/* A moment to be woken at. Embedded by its owner; zero it before first use. */
struct timer {
    void (*fire)(struct timer *t);
    int64_t due_ns; /* CLOCK_MONOTONIC */
    size_t slot;    /* position in the heap + 1; 0: not set */
};

struct loop *loop_new(void); /* NULL with errno */
void loop_free(struct loop *l);

int loop_watch(struct loop *l, struct watch *w, uint32_t events); /* 0, or -1 with errno */
int loop_rewatch(struct loop *l, struct watch *w, uint32_t events);
void loop_unwatch(struct loop *l, struct watch *w); /* before the fd is closed */

/* Sets or moves a timer. It fires once, never early. 0, or -1 if memory ran out. */
int loop_set_timer(struct loop *l, struct timer *t, int64_t due_ns);
void loop_clear_timer(struct loop *l, struct timer *t); /* no effect if not set */

/* The time at the start of this batch of events: cheaper than asking the clock, at most one batch old. */
int64_t loop_now_ns(const struct loop *l);

/* Runs until loop_stop. After each batch `turn` does the deferred work and returns how long the loop may
 * sleep at most, in ns; -1: until something happens. */
void loop_run(struct loop *l, int64_t (*turn)(void *arg), void *arg);
void loop_stop(struct loop *l);
/* One batch: waits at most limit_ns (-1: no limit) for events or the first timer, and handles what came. */
void loop_step(struct loop *l, int64_t limit_ns);

#endif
