/* loop.c: see loop.h. Front end. Level-triggered epoll unless a watch asks for EPOLLET. */
#include "base/loop.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"

#define BATCH 256 /* events taken in one go */

struct loop {
    int epoll_fd;
    bool stopped;
    int64_t now_ns;
    struct epoll_event events[BATCH];
    int next, count; /* the batch being handled: events[next .. count) are still to come */
    struct timer **heap;
    size_t timers, room; /* of the heap; room: see base/array.h */
};

struct loop *loop_new(void) {
    struct loop *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        free(l);
        return NULL;
    }
    l->now_ns = clock_monotonic_ns();
    return l;
}

void loop_free(struct loop *l) {
    close(l->epoll_fd);
    free(l->heap);
    free(l);
}

static int control(struct loop *l, int op, struct watch *w, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = w};
    return epoll_ctl(l->epoll_fd, op, w->fd, &e);
}

int loop_watch(struct loop *l, struct watch *w, uint32_t events) {
    return control(l, EPOLL_CTL_ADD, w, events);
}

int loop_rewatch(struct loop *l, struct watch *w, uint32_t events) {
    return control(l, EPOLL_CTL_MOD, w, events);
}

void loop_unwatch(struct loop *l, struct watch *w) {
    control(l, EPOLL_CTL_DEL, w, 0);
    /* An event of this batch can name this watch, which its owner can free from now on. */
    for (int i = l->next; i < l->count; i++)
        if (l->events[i].data.ptr == w)
            l->events[i].data.ptr = NULL;
}

static void place(struct loop *l, size_t i, struct timer *t) {
    l->heap[i] = t;
    t->slot = i + 1;
}

static void sift_up(struct loop *l, size_t i) {
    struct timer *t = l->heap[i];
    while (i > 0 && l->heap[(i - 1) / 2]->due_ns > t->due_ns) {
        place(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(l, i, t);
}

static void sift_down(struct loop *l, size_t i) {
    struct timer *t = l->heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= l->timers)
            break;
        if (child + 1 < l->timers && l->heap[child + 1]->due_ns < l->heap[child]->due_ns)
            child++;
        if (l->heap[child]->due_ns >= t->due_ns)
            break;
        place(l, i, l->heap[child]);
        i = child;
    }
    place(l, i, t);
}

int loop_set_timer(struct loop *l, struct timer *t, int64_t due_ns) {
    if (t->slot == 0) {
        if (GROW_ARRAY(&l->heap, l->timers, &l->room) != 0)
            return -1;
        place(l, l->timers++, t);
    }
    t->due_ns = due_ns;
    sift_up(l, t->slot - 1);
    sift_down(l, t->slot - 1);
    return 0;
}

void loop_clear_timer(struct loop *l, struct timer *t) {
    if (t->slot == 0)
        return;
    size_t i = t->slot - 1;
    t->slot = 0;
    struct timer *last = l->heap[--l->timers];
    if (last == t)
        return;
    place(l, i, last);
    sift_up(l, i);
    sift_down(l, last->slot - 1);
}

int64_t loop_now_ns(const struct loop *l) {
    return l->now_ns;
}

/* Milliseconds for epoll_wait(2), rounded up so that no timer fires too early. */
static int sleep_ms(const struct loop *l, int64_t limit_ns) {
    if (l->timers > 0) {
        int64_t until = l->heap[0]->due_ns - clock_monotonic_ns();
        until = until < 0 ? 0 : until;
        limit_ns = limit_ns < 0 || until < limit_ns ? until : limit_ns;
    }
    if (limit_ns < 0)
        return -1;
    int64_t ms = (limit_ns + NS_PER_MS - 1) / NS_PER_MS;
    return ms > 3600000 ? 3600000 : (int)ms;
}

void loop_step(struct loop *l, int64_t limit_ns) {
    int n = epoll_wait(l->epoll_fd, l->events, BATCH, sleep_ms(l, limit_ns));
    l->now_ns = clock_monotonic_ns();
    l->count = n < 0 ? 0 : n; /* EINTR: the next step waits again */
    for (l->next = 0; l->next < l->count;) {
        struct epoll_event *e = &l->events[l->next++];
        struct watch *w = e->data.ptr;
        if (w != NULL)
            w->ready(w, e->events);
    }
    l->count = 0;
    while (l->timers > 0 && l->heap[0]->due_ns <= l->now_ns) {
        struct timer *t = l->heap[0];
        loop_clear_timer(l, t);
        t->fire(t);
    }
}

void loop_run(struct loop *l, int64_t (*turn)(void *arg), void *arg) {
    while (!l->stopped) {
        int64_t limit_ns = turn(arg);
        if (l->stopped)
            break;
        loop_step(l, limit_ns);
    }
}

void loop_stop(struct loop *l) {
    l->stopped = true;
}
