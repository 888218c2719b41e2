/* sleep.c: the test type "sleep": it holds a worker for some time without using the CPU. It runs in workers. */
#include <string.h>
#include <time.h>

#include "handlers/handler.h"

enum { SLICE_NS = 10000000, MS_NS = 1000000 };

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int sleep_plan(struct call *c, const struct params *p) {
    uint64_t ms = 0;
    param_u64(p, "ms", &ms);
    return plan_chunk(c, &ms, sizeof ms, ms * MS_NS);
}

static int sleep_run(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common;
    uint64_t ms;
    if (chunk.size != sizeof ms)
        return call_fail(c, CALL_FAILED, NULL, "the chunk is damaged");
    memcpy(&ms, chunk.data, sizeof ms);
    uint64_t start_ns = now_ns(), slept_ns = 0;
    for (; slept_ns < ms * MS_NS; slept_ns = now_ns() - start_ns) {
        if (call_cancelled(c))
            return -1;
        call_progress(c, slept_ns / MS_NS, ms);
        uint64_t left_ns = ms * MS_NS - slept_ns;
        struct timespec slice = {.tv_nsec = (long)(left_ns < SLICE_NS ? left_ns : SLICE_NS)};
        nanosleep(&slice, NULL); /* a signal can end it early, so the loop looks at the clock again */
    }
    call_progress(c, ms, ms);
    return part_write(c, &ms, sizeof ms);
}

static int sleep_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common;
    uint64_t ms;
    if (count != 1 || parts[0].size != sizeof ms)
        return call_fail(c, CALL_FAILED, NULL, "the part is damaged");
    memcpy(&ms, parts[0].data, sizeof ms);
    json_begin_object(c);
    json_name(c, "ms");
    json_u64(c, ms);
    json_end_object(c);
    return 0;
}

static const struct param_spec sleep_params[] = {{.name = "ms",
                                                  .kind = PARAM_INTEGER,
                                                  .flags = PARAM_REQUIRED,
                                                  .min = "0",
                                                  .max = "86400000",
                                                  .help = "how long to sleep, in milliseconds"},
                                                 {0}};

const struct handler handler_sleep = {.abi = HANDLER_ABI,
                                      .name = "sleep",
                                      .summary = "Hold a worker for some time without using the CPU",
                                      .flags = HANDLER_TEST,
                                      .params = sleep_params,
                                      .plan = sleep_plan,
                                      .run = sleep_run,
                                      .merge = sleep_merge};
