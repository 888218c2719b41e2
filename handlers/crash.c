/* crash.c: the test type "crash": a worker really dies, hangs or eats memory, in the first attempts or in all of them.
 * It runs in workers.
 *
 * The last message is written to stderr by write(2), so that it is out before the process ends.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "handlers/handler.h"

enum { STEP_BYTES = 1 << 20, STEP_DELAY_NS = 100000, MAX_STEPS = 4096 };

struct plan {
    uint32_t how;   /* index into how_choices and ways */
    uint32_t times; /* it crashes in the first so many attempts; 0: in all */
};

/* Raises the signal, because a sanitizer would catch a real fault. Nothing can catch the default action. */
static int die_of_sigsegv(struct call *c) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    signal(SIGSEGV, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(SIGSEGV);
    return call_fail(c, CALL_FAILED, NULL, "survived SIGSEGV");
}

static int die_of_sigkill(struct call *c) {
    kill(getpid(), SIGKILL);
    return call_fail(c, CALL_FAILED, NULL, "survived SIGKILL");
}

static int die_by_abort(struct call *c) {
    (void)c;
    abort();
}

static int die_by_exit(struct call *c) {
    (void)c;
    _exit(3);
}

/* Ignores call_cancelled and SIGTERM, so only SIGKILL ends it. */
static int hang(struct call *c) {
    volatile bool deaf = true;
    signal(SIGTERM, SIG_IGN);
    while (deaf)
        ;
    return call_fail(c, CALL_FAILED, NULL, "came back from an endless loop");
}

struct hoard {
    struct hoard *next;
};

/* Touches more and more memory, until it is killed or cancelled, or has taken so much that the machine would suffer. */
static int eat_memory(struct call *c) {
    const struct timespec delay = {.tv_nsec = STEP_DELAY_NS};
    struct hoard *hoard = NULL;
    int steps = 0;
    for (; steps < MAX_STEPS && !call_cancelled(c); steps++) {
        struct hoard *more = malloc(STEP_BYTES);
        if (!more)
            break;
        memset(more, 0xa5, STEP_BYTES);
        more->next = hoard;
        hoard = more;
        nanosleep(&delay, NULL);
    }
    while (hoard) {
        struct hoard *next = hoard->next;
        free(hoard);
        hoard = next;
    }
    if (call_cancelled(c))
        return -1;
    return call_fail(c, CALL_MEMORY, NULL, "it was not stopped before it held %d MiB", steps);
}

static const char *const how_choices[] = {"SIGSEGV", "SIGKILL", "abort", "exit", "hang", "memory", NULL};

static int (*const ways[])(struct call *c) = {die_of_sigsegv, die_of_sigkill, die_by_abort,
                                              die_by_exit,    hang,           eat_memory};

static int crash_plan(struct call *c, const struct params *p) {
    int64_t times = 0;
    param_i64(p, "times", &times);
    struct plan plan = {.how = (uint32_t)param_choice(p, "how"), .times = (uint32_t)times};
    return plan_chunk(c, &plan, sizeof plan, HANDLER_CHUNK_NS);
}

static int crash_run(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common;
    struct plan plan;
    uint32_t attempt = call_attempt(c);
    if (chunk.size != sizeof plan)
        return call_fail(c, CALL_FAILED, NULL, "the chunk is damaged");
    memcpy(&plan, chunk.data, sizeof plan);
    if (plan.how >= sizeof ways / sizeof *ways)
        return call_fail(c, CALL_FAILED, NULL, "the chunk is damaged");
    if (plan.times > 0 && attempt >= plan.times)
        return part_write(c, &attempt, sizeof attempt);
    dprintf(STDERR_FILENO, "crash: about to fail: %s, attempt %u\n", how_choices[plan.how], attempt);
    return ways[plan.how](c);
}

static int crash_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common;
    uint32_t attempts;
    if (count != 1 || parts[0].size != sizeof attempts)
        return call_fail(c, CALL_FAILED, NULL, "the part is damaged");
    memcpy(&attempts, parts[0].data, sizeof attempts);
    json_begin_object(c);
    json_name(c, "survived_attempts");
    json_u64(c, attempts);
    json_end_object(c);
    return 0;
}

static const struct param_spec crash_params[] = {
    {.name = "how",
     .kind = PARAM_ENUM,
     .flags = PARAM_REQUIRED,
     .choices = how_choices,
     .help = "what the worker does: die of a signal, exit with 3, hang and ignore SIGTERM, or eat memory"},
    {.name = "times",
     .kind = PARAM_INTEGER,
     .min = "0",
     .max = "1000000",
     .fallback = "0",
     .help = "do it in the first so many attempts only; 0: in all of them"},
    {0}};

const struct handler handler_crash = {.abi = HANDLER_ABI,
                                      .name = "crash",
                                      .summary = "Lose a worker: crash it, hang it, or let it eat memory",
                                      .flags = HANDLER_TEST,
                                      .params = crash_params,
                                      .plan = crash_plan,
                                      .run = crash_run,
                                      .merge = crash_merge};
