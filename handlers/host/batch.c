/* batch.c: see batch.h. The calls that are under way are a ring: the handler takes calls at its end, and finishes the
 * one at its front.
 *
 *     feed->next ──► [ taken, taken, taken ] ──► batch_done ──► feed->done
 *
 * It runs in workers. */
#include "handlers/host/batch.h"

#include <stdlib.h>

#include "handlers/host/execute.h"
#include "handlers/host/registry.h"

#define KEPT_PART 4096 /* bytes */

struct taken {
    struct call call;
    struct host_batch_call fed;
    struct fault fault;
    struct buf part; /* its memory is used again */
    void *copies[2]; /* of common and chunk, if they were not aligned */
};

struct batch {
    const struct handler *handler;
    const struct host_batch *feed;
    unsigned front, count;
    bool at_end; /* the feed had no call while none was under way */
};

/* A process runs one batch at a time. */
static struct taken ring[BATCH_MAX];

static struct taken *place_of(const struct batch *b, unsigned i) {
    return &ring[(b->front + i) % BATCH_MAX];
}

/* The memory of small parts is used again. */
static void forget_large_parts(void) {
    for (size_t i = 0; i < BATCH_MAX; i++)
        if (ring[i].part.capacity > KEPT_PART)
            buf_deinit(&ring[i].part);
}

static void free_copies(struct taken *t) {
    free(t->copies[0]);
    free(t->copies[1]);
    t->copies[0] = t->copies[1] = NULL;
}

/* The call at the front ends with what the host functions return. */
static void end_front(struct batch *b, int rc) {
    struct taken *t = place_of(b, 0);
    b->front = (b->front + 1) % BATCH_MAX;
    b->count--;
    b->feed->done(b->feed->arg, t->fed.owner, rc, &t->part, &t->fault);
    free_copies(t);
    fault_deinit(&t->fault);
}

struct call *batch_next(struct batch *b, struct bytes *common, struct bytes *chunk) {
    if (b->count == BATCH_MAX)
        return NULL;
    struct taken *t = place_of(b, b->count);
    memset(&t->fed, 0, sizeof t->fed);
    if (!b->feed->next(b->feed->arg, &t->fed)) {
        b->at_end = b->count == 0;
        return NULL;
    }
    buf_clear(&t->part);
    t->call = (struct call){.stage = CALL_STAGE_RUN,
                            .handler = t->fed.handler == NULL ? b->handler : t->fed.handler,
                            .hooks = t->fed.hooks,
                            .at = t->fed.at,
                            .fault = &t->fault,
                            .traceback_left = TRACEBACK_MAX,
                            .tracebacks = t->fed.tracebacks,
                            .attempt = t->fed.attempt,
                            .out = &t->part};
    b->count++;
    *common = t->fed.common;
    *chunk = t->fed.chunk;
    if (!execute_align(common, &t->copies[0]) || !execute_align(chunk, &t->copies[1]))
        call_fail(&t->call, CALL_MEMORY, NULL, "there is no memory for the work");
    return &t->call;
}

void batch_done(struct batch *b, int returned) {
    if (b->count > 0)
        end_front(b, execute_conclude(&place_of(b, 0)->call, returned));
}

/* The handler has returned. A call that it took and did not finish has failed. */
static void end_unfinished(struct batch *b) {
    while (b->count > 0) {
        struct call *c = &place_of(b, 0)->call;
        call_fail(c, CALL_FAILED, NULL, "the %s handler did not finish this call of a batch", b->handler->name);
        batch_done(b, -1);
    }
}

/* Runs one call by itself, so that a handler that takes none does not hold the batch up for ever. */
static void run_one(struct batch *b) {
    struct bytes common, chunk;
    struct call *c = batch_next(b, &common, &chunk);
    if (c != NULL)
        end_front(b, execute_run(c, c->handler, common, chunk));
}

void batch_run_handler(const struct handler *handler, const struct host_batch *feed) {
    struct batch b = {.handler = handler, .feed = feed};
    while (!b.at_end) {
        handler->run_batch(&b);
        end_unfinished(&b);
        if (!b.at_end)
            run_one(&b);
    }
    forget_large_parts();
}

bool host_can_batch(size_t type) {
    const struct handler *handler = host_handler(type);
    return handler != NULL && handler->run_batch != NULL;
}

bool host_joins(size_t type) {
    return host_can_batch(type) && (host_handler(type)->flags & HANDLER_JOINS) != 0;
}

bool host_joins_with(size_t a, size_t b) {
    return a == b || (host_joins(a) && host_joins(b) && host_handler(a)->run_batch == host_handler(b)->run_batch);
}

void host_run_batch(size_t type, const struct host_batch *feed) {
    if (host_can_batch(type))
        batch_run_handler(host_handler(type), feed);
}
