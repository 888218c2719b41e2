/* fake_pool.h: a pool without processes, for the tests of server/jobs: the linker takes the functions below and leaves
 * the objects of pool/ in the archive. All that is sent to a worker is kept in `fake.sent`, and the test answers it as
 * a worker would, or reports it lost. */
#ifndef OFFLOAD_TESTS_FAKE_POOL_H
#define OFFLOAD_TESTS_FAKE_POOL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/pool.h"

enum { FAKE_MAIN = 2, FAKE_WORKERS = 3, FAKE_SENT = 8192 };

/* One task, or one part of a merge, that was sent. */
struct fake_sent {
    uint32_t poison; /* WIRE_RUN: the first number of its common */
    struct wire_header header;
    struct buf bytes; /* inline or bulk, after the common front of a run or a merge */
    uint32_t first_attachment, attachments;
    bool own; /* it can write to the first of them */
    void *task;
    struct worker *worker;
    bool answered, is_long;
    enum stop_reason stopped;
};

enum fake_state { FAKE_READY, FAKE_RETIRING, FAKE_DYING };

struct worker {
    struct pool *pool;
    unsigned slot;
    enum lane lane;
    enum fake_state state;
    uint32_t type, start_type;
    void *owner;
    bool replacing;
    unsigned count, long_tasks;
    int64_t asked_ns, ready_ns;
    uint64_t next_ticket;
};

struct pool {
    uint64_t steps;  /* of the next death */
    double progress; /* what pool_progress says; 0.5 at first */
    struct worker workers[FAKE_WORKERS];
    struct fake_sent *sent;
    size_t count;
    unsigned exits;       /* processes that ended */
    bool held_back;       /* what pool_task_is_held_back says */
    bool not_begun;       /* pool_stop_task answers that the task had not begun */
    unsigned parts_taken; /* parts that the socket takes before it is full; UINT32_MAX: all */
};

static struct pool fake;

static inline void fake_open(void) {
    memset(&fake, 0, sizeof fake);
    fake.sent = calloc(FAKE_SENT, sizeof *fake.sent);
    fake.parts_taken = UINT32_MAX;
    fake.progress = 0.5;
    if (fake.sent == NULL)
        abort();
    for (unsigned i = 0; i < FAKE_WORKERS; i++)
        fake.workers[i] = (struct worker){.pool = &fake,
                                          .slot = i,
                                          .state = FAKE_READY,
                                          .lane = i < FAKE_MAIN ? LANE_MAIN : LANE_EXPRESS,
                                          .type = UINT32_MAX,
                                          .start_type = START_FORKED};
}

static inline void fake_close(void) {
    for (size_t i = 0; i < fake.count; i++)
        buf_deinit(&fake.sent[i].bytes);
    free(fake.sent);
}

static inline struct fake_sent *fake_add(struct worker *w, const struct wire_header *h, void *task) {
    if (fake.count == FAKE_SENT)
        abort();
    struct fake_sent *s = &fake.sent[fake.count++];
    *s = (struct fake_sent){.header = *h, .task = task, .worker = w};
    return s;
}

static inline void fake_append(struct buf *to, const struct slice *from) {
    const unsigned char *bytes = slice_map(from);
    buf_append(to, bytes, from->size);
    slice_unmap(from, bytes);
}

/* The task is not in flight any more. */
static inline void fake_answered(struct fake_sent *s) {
    s->worker->count--;
    s->worker->long_tasks -= s->is_long;
}

size_t pool_size(const struct pool *p) {
    (void)p;
    return FAKE_WORKERS;
}

size_t pool_owned(const struct pool *p) {
    size_t owned = 0;
    (void)p;
    for (unsigned i = 0; i < FAKE_WORKERS; i++)
        owned += fake.workers[i].owner != NULL;
    return owned;
}

struct worker *pool_worker(const struct pool *p, size_t i) {
    (void)p;
    return &fake.workers[i];
}

bool worker_takes_tasks(const struct worker *w) {
    return w->state == FAKE_READY && w->count < WIRE_MAX_IN_FLIGHT;
}

bool worker_can_send(const struct worker *w) {
    (void)w;
    return fake.parts_taken > 0;
}

uint64_t pool_send_task(struct worker *w, const struct pool_task *t) {
    const struct wire_header *h = &t->header;
    struct fake_sent *s = fake_add(w, h, t->owner);
    if (h->kind == WIRE_RUN && t->front_size >= 12)
        memcpy(&s->poison, (const char *)t->front + 8, sizeof s->poison);
    if (t->payload.blob != NULL)
        fake_append(&s->bytes, &t->payload);
    s->attachments = t->attachment_count;
    if (t->attachment_count > 0) {
        s->first_attachment = t->attachments[0].index;
        s->own = t->attachments[0].own;
    }
    w->count++;
    w->long_tasks += t->is_long;
    s->is_long = t->is_long;
    w->type = h->type;
    s->header.ticket = ++w->next_ticket;
    return s->header.ticket;
}

unsigned worker_slot(const struct worker *w) {
    return w->slot;
}

enum lane worker_lane(const struct worker *w) {
    return w->lane;
}

unsigned worker_in_flight(const struct worker *w) {
    return w->count;
}

bool worker_has_long_task(const struct worker *w) {
    return w->long_tasks > 0;
}

void *worker_owner(const struct worker *w) {
    return w->owner;
}

uint32_t worker_start_type(const struct worker *w) {
    return w->start_type;
}

int64_t worker_ready_ns(const struct worker *w) {
    return w->ready_ns;
}

int64_t worker_start_took_ns(const struct worker *w) {
    return w->ready_ns - w->asked_ns;
}

struct worker_view worker_look(const struct worker *w) {
    return (struct worker_view){.lane = w->lane, .activity = w->count > 0 ? WORKER_IS_BUSY : WORKER_IS_IDLE};
}

uint64_t worker_rss(const struct worker *w) {
    (void)w;
    return 1 << 20;
}

const char *worker_activity_name(enum worker_activity a) {
    (void)a;
    return "idle";
}

const char *lane_name(enum lane lane) {
    return lane == LANE_MAIN ? "main" : "express";
}

bool worker_is_unused(const struct worker *w) {
    return w->state == FAKE_READY && w->type == UINT32_MAX;
}

bool pool_isolate_worker(struct worker *w, void *owner, uint32_t start_type) {
    w->owner = owner;
    if (worker_is_unused(w) && w->start_type == start_type)
        return true;
    w->start_type = start_type;
    w->replacing = true;
    w->state = FAKE_RETIRING;
    return false;
}

void pool_release_worker(struct worker *w) {
    bool is_forked = w->start_type == START_FORKED;
    w->owner = NULL;
    w->replacing = false;
    if (w->state == FAKE_READY && !(is_forked && worker_is_unused(w)))
        w->state = FAKE_RETIRING;
}

/* The worker's process ends, and the next one is ready. start: not NULL if the process was never ready itself. */
static inline void fake_exit(struct worker *w, const struct pool_events *e, const struct death *start) {
    void *owner = w->replacing ? NULL : w->owner;
    if (!w->replacing) {
        w->start_type = START_FORKED;
        w->owner = NULL;
    }
    w->replacing = false;
    w->state = FAKE_DYING;
    if (owner != NULL)
        e->isolation_ended(e->arg, w, owner, start);
    w->type = UINT32_MAX;
    w->state = FAKE_READY;
    w->pool->exits++;
}

/* Replaces each process that was asked to leave and has no task. Returns how many. */
static inline unsigned fake_restart(const struct pool_events *e) {
    unsigned restarted = 0;
    for (unsigned i = 0; i < FAKE_WORKERS; i++) {
        if (fake.workers[i].state != FAKE_RETIRING || fake.workers[i].count > 0)
            continue;
        fake_exit(&fake.workers[i], e, NULL);
        restarted++;
    }
    return restarted;
}

void pool_send_part(struct worker *w, uint64_t ticket, const struct slice *part) {
    struct wire_header h = {.kind = WIRE_PART, .ticket = ticket};
    fake_append(&fake_add(w, &h, NULL)->bytes, part);
    fake.sent[fake.count - 1].answered = true; /* it has no answer of its own */
    fake.parts_taken -= fake.parts_taken != UINT32_MAX;
}

void pool_flush(struct worker *w) {
    (void)w;
}

void pool_flush_all(struct pool *p) {
    (void)p;
}

bool pool_stop_task(struct worker *w, uint64_t ticket, enum stop_reason reason) {
    for (size_t i = 0; i < fake.count; i++) {
        struct fake_sent *s = &fake.sent[i];
        if (s->worker != w || s->header.ticket != ticket || s->answered)
            continue;
        s->stopped = reason;
        if (fake.not_begun) {
            s->answered = true;
            fake_answered(s);
        }
        return !fake.not_begun;
    }
    return false;
}

bool pool_task_is_held_back(struct worker *w, uint64_t ticket) {
    (void)w, (void)ticket;
    return fake.held_back;
}

double pool_progress(const struct worker *w, uint64_t ticket) {
    (void)w, (void)ticket;
    return fake.progress;
}

const char *signal_name(int signal) {
    return signal == 0 ? NULL : signal == 9 ? "SIGKILL" : "SIGSEGV";
}

#endif
