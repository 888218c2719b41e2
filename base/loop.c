/* loop.c: see loop.h. Front end. Level-triggered epoll unless a watch asks for EPOLLET. The timers are a pairing heap,
 * whose links are in the timers themselves. To set a timer, and to clear one that has not come near the front, takes a
 * few steps; to take the first one out takes log n of them on average. */
#include "base/loop.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

#define BATCH 256 /* events taken in one go */

struct loop {
    int epoll_fd;
    bool stopped;
    int64_t now_ns;
    struct epoll_event events[BATCH];
    int next, count;     /* the batch being handled: events[next .. count) are still to come */
    struct timer *first; /* the one that is due first: the root of a pairing heap */
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

/* ---- timers ------------------------------------------------------------------------------------------------------ */

/* The one that is due later becomes the first child of the other. Both have no siblings. */
static struct timer *meld(struct timer *a, struct timer *b) {
    if (b->due_ns < a->due_ns) {
        struct timer *later = a;
        a = b;
        b = later;
    }
    b->before = a;
    b->next = a->child;
    if (b->next != NULL)
        b->next->before = b;
    a->child = b;
    return a;
}

/* Makes one heap of siblings: each is melded with its neighbour, and then all of these with each other, the last ones
 * first. That is what makes a heap of n timers no deeper than log n on average. NULL if there are none. */
static struct timer *meld_siblings(struct timer *first) {
    struct timer *pairs = NULL, *all = NULL;
    while (first != NULL) {
        struct timer *a = first, *b = a->next;
        first = b == NULL ? NULL : b->next;
        a->next = NULL;
        if (b != NULL) {
            b->next = NULL;
            a = meld(a, b);
        }
        a->next = pairs;
        pairs = a;
    }
    while (pairs != NULL) {
        struct timer *one = pairs;
        pairs = one->next;
        one->next = NULL;
        all = all == NULL ? one : meld(all, one);
    }
    if (all != NULL)
        all->before = NULL;
    return all;
}

static void add_timer(struct loop *l, struct timer *t) {
    l->first = l->first == NULL ? t : meld(l->first, t);
}

void loop_set_timer(struct loop *l, struct timer *t, int64_t due_ns) {
    loop_clear_timer(l, t);
    t->due_ns = due_ns;
    t->is_set = true;
    add_timer(l, t);
}

void loop_clear_timer(struct loop *l, struct timer *t) {
    if (!t->is_set)
        return;
    struct timer *children = meld_siblings(t->child);
    if (t == l->first) {
        l->first = NULL;
    } else {
        if (t->before->child == t)
            t->before->child = t->next;
        else
            t->before->next = t->next;
        if (t->next != NULL)
            t->next->before = t->before;
    }
    t->child = t->next = t->before = NULL;
    t->is_set = false;
    if (children != NULL)
        add_timer(l, children);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

int64_t loop_now_ns(const struct loop *l) {
    return l->now_ns;
}

/* Milliseconds for epoll_wait(2), rounded up so that no timer fires too early. */
static int sleep_ms(const struct loop *l, int64_t limit_ns) {
    if (l->first != NULL) {
        int64_t until = l->first->due_ns - clock_monotonic_ns();
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
    while (l->first != NULL && l->first->due_ns <= l->now_ns) {
        struct timer *t = l->first;
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
    l->stopped = false;
}

void loop_stop(struct loop *l) {
    l->stopped = true;
}
