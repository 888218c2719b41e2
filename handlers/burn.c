/* burn.c: the test type "burn": it uses a given amount of CPU time, in any number of chunks. It runs in workers. */
#include <string.h>
#include <time.h>

#include "handlers/handler.h"

enum {
    MS_NS = 1000000,
    SPINS = 20000 /* between two looks at the clock: some tens of microseconds */
};

static uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void spin(void) {
    volatile unsigned spun = 0;
    while (spun < SPINS)
        spun = spun + 1;
}

static int burn_plan(struct call *c, const struct params *p) {
    uint64_t cpu_ms = 0, chunks = 1;
    param_u64(p, "cpu_ms", &cpu_ms);
    param_u64(p, "chunks", &chunks);
    if (plan_wanted_chunks(c) > 0)
        chunks = plan_wanted_chunks(c);
    if (chunks > HANDLER_MAX_CHUNKS)
        chunks = HANDLER_MAX_CHUNKS;
    uint64_t share_ns = cpu_ms * MS_NS / chunks;
    for (uint64_t i = 0; i < chunks; i++)
        if (plan_chunk(c, &share_ns, sizeof share_ns, share_ns) < 0)
            return -1;
    return 0;
}

static int burn_run(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common;
    uint64_t wanted_ns;
    if (chunk.size != sizeof wanted_ns)
        return call_fail(c, CALL_FAILED, NULL, "the chunk is damaged");
    memcpy(&wanted_ns, chunk.data, sizeof wanted_ns);
    uint64_t start_ns = cpu_ns(), burnt_ns = 0;
    while (burnt_ns < wanted_ns) {
        if (call_cancelled(c))
            return -1;
        spin();
        burnt_ns = cpu_ns() - start_ns;
        call_progress(c, burnt_ns < wanted_ns ? burnt_ns : wanted_ns, wanted_ns);
    }
    return part_write(c, &burnt_ns, sizeof burnt_ns);
}

static int burn_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common;
    uint64_t burnt_ns, total_ns = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size != sizeof burnt_ns)
            return call_fail(c, CALL_FAILED, NULL, "part %zu is damaged", i);
        memcpy(&burnt_ns, parts[i].data, sizeof burnt_ns);
        total_ns += burnt_ns;
    }
    json_begin_object(c);
    json_name(c, "cpu_ms");
    json_double(c, (double)total_ns / MS_NS);
    json_name(c, "chunks");
    json_u64(c, count);
    json_end_object(c);
    return 0;
}

static const struct param_spec burn_params[] = {{.name = "cpu_ms",
                                                 .kind = PARAM_INTEGER,
                                                 .flags = PARAM_REQUIRED,
                                                 .min = "0",
                                                 .max = "86400000",
                                                 .help = "CPU time to use in all, in milliseconds"},
                                                {.name = "chunks",
                                                 .kind = PARAM_INTEGER,
                                                 .min = "1",
                                                 .max = "4096",
                                                 .fallback = "1",
                                                 .help = "how many chunks share it; options.chunks goes before this"},
                                                {0}};

const struct handler handler_burn = {.abi = HANDLER_ABI,
                                     .name = "burn",
                                     .summary = "Use a given amount of CPU time",
                                     .flags = HANDLER_TEST,
                                     .params = burn_params,
                                     .plan = burn_plan,
                                     .run = burn_run,
                                     .merge = burn_merge};
