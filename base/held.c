/* held.c: see held.h. Front end; blobs are also counted in workers. */
#include "base/held.h"

#include <stdlib.h>

#include "base/descriptors.h"
#include "base/log.h"

#define LEAST_IN_FILE (32 * 1024) /* bytes; a smaller result has no descriptor */

size_t held_bytes[HELD_KINDS];
size_t held_total;

static uint64_t limit = UINT64_MAX;

static struct {
    void (*reclaim)(void *arg, size_t bytes);
    void *arg;
} reclaimers[HELD_RECLAIMERS];

const char *held_name(enum held what) {
    static const char *const names[HELD_KINDS] = {
        [HELD_BODIES] = "bodies",     [HELD_PAYLOADS] = "payloads",       [HELD_JOBS] = "jobs",
        [HELD_ENDED] = "ended",       [HELD_ANSWERS] = "answers",         [HELD_STORE] = "store",
        [HELD_WEBHOOKS] = "webhooks", [HELD_CONNECTIONS] = "connections",
    };
    return names[what];
}

void held_set_limit(uint64_t bytes) {
    limit = bytes;
}

uint64_t held_limit(void) {
    return limit;
}

void held_set_reclaimer(enum held_reclaimer which, void (*reclaim)(void *arg, size_t bytes), void *arg) {
    reclaimers[which].reclaim = reclaim;
    reclaimers[which].arg = arg;
}

/* How far the bound would be exceeded. */
static size_t excess(uint64_t bound, size_t more) {
    if (held_total <= bound && more <= bound - held_total)
        return 0;
    return held_total > bound ? held_total - (size_t)bound + more : more - (size_t)(bound - held_total);
}

static void ask(int which, size_t bytes) {
    if (reclaimers[which].reclaim != NULL)
        reclaimers[which].reclaim(reclaimers[which].arg, bytes);
}

bool held_make_room(enum held_use use, size_t more) {
    if (use == HELD_FOR_ANSWER && held_bytes[HELD_ANSWERS] + more <= HELD_ANSWERS_SHARE(limit))
        use = HELD_FOR_NEW;
    uint64_t bound = use == HELD_FOR_WORK ? limit : limit - limit / 4;
    int asked = use == HELD_FOR_ANSWER ? HELD_FROM_UNREAD + 1 : HELD_RECLAIMERS;
    if (excess(bound, more) == 0)
        return true;
    if (more > bound) /* nothing that is freed would help */
        return false;
    for (int i = 0; i < asked && excess(bound, more) > 0; i++)
        ask(i, excess(bound, more));
    return excess(bound, more) == 0;
}

bool held_make_room_for_descriptor(int fd) {
    size_t before = held_total;
    int64_t count = descriptors_reserved_in_use(fd);
    for (int64_t n = 0; n < count; n++)
        for (int i = HELD_FROM_REMEMBERED; i <= HELD_FROM_STORED; i++)
            ask(i, LEAST_IN_FILE);
    return count == 0 || held_total < before;
}

static void report(const char *event, enum held what, size_t bytes) {
    LOG(LOG_ERROR, event, LOG_STR("what", held_name(what)), LOG_INT("held", held_bytes[what]), LOG_INT("bytes", bytes));
#ifdef OFFLOAD_DEBUG
    abort();
#endif
}

void held_underflow(enum held what, size_t bytes) {
    report("held_underflow", what, bytes);
}

void held_check_empty(void) {
    for (int what = 0; what < HELD_KINDS; what++)
        if (held_bytes[what] != 0)
            report("held_left", (enum held)what, 0);
}
