/* report.c: the test type "report": it prints to the log of its job, loses attempts though its worker lives, fails
 * with an exception, and shows its deadline. So it does what the handler of a program does, without a program. It runs in workers.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "handlers/handler.h"

enum { MAX_TEXTS = 1 << 20 }; /* bytes */

/* What follows the head of the chunk, one behind the other, each with a NUL. */
enum text { TEXT_PRINT, TEXT_BYTES, TEXT_EXCEPTION, TEXT_DETAIL, TEXT_TRACEBACK, TEXTS };

/* The head of the chunk. */
struct plan {
    uint32_t lost;  /* index into lost_choices */
    uint32_t times; /* it is lost in the first so many attempts; 0: in all */
    uint32_t lines, wait_ms;
    uint32_t sizes[TEXTS]; /* without the NULs */
};

static const char *const lost_choices[] = {"no", "signal", "exit", "oom", "memory", "timeout", "protocol", NULL};

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Two digits for each byte. False if they are not. */
static bool read_hex(const char *text, size_t size, unsigned char *bytes) {
    for (size_t i = 0; i < size / 2; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (unsigned char)(high * 16 + low);
    }
    return size % 2 == 0;
}

static int report_plan(struct call *c, const struct params *p) {
    static const char *const names[TEXTS] = {"print", "hex", "exception", "detail", "traceback"};
    static unsigned char chunk[sizeof(struct plan) + MAX_TEXTS];
    int64_t times = 0, lines = 0, wait_ms = 0, cost_us = 0;
    param_i64(p, "times", &times);
    param_i64(p, "lines", &lines);
    param_i64(p, "wait_ms", &wait_ms);
    param_i64(p, "cost_us", &cost_us);
    struct plan plan = {.lost = (uint32_t)param_choice(p, "lost"),
                        .times = (uint32_t)times,
                        .lines = (uint32_t)lines,
                        .wait_ms = (uint32_t)wait_ms};
    size_t used = sizeof plan;
    for (int i = 0; i < TEXTS; i++) {
        size_t size;
        const char *text = param_text(p, names[i], &size);
        if (size + 1 > sizeof chunk - used)
            return call_fail(c, CALL_INVALID, "/print", "all texts together can have at most 1 MiB");
        if (i != TEXT_BYTES)
            memcpy(chunk + used, text, size);
        else if (!read_hex(text, size, chunk + used))
            return call_fail(c, CALL_INVALID, "/hex", "must be pairs of the digits 0-9 and a-f");
        plan.sizes[i] = (uint32_t)(i == TEXT_BYTES ? size / 2 : size);
        used += plan.sizes[i];
        chunk[used++] = '\0';
    }
    memcpy(chunk, &plan, sizeof plan);
    return plan_chunk(c, chunk, used, (uint64_t)cost_us * 1000);
}

static int lose(struct call *c, const char *cause) {
    char words[64];
    bool by_signal = strcmp(cause, "signal") == 0 || strcmp(cause, "oom") == 0;
    snprintf(words, sizeof words, "last words of attempt %u\n", call_attempt(c));
    return call_lost(c, &(struct call_loss){.cause = cause,
                                            .signal = by_signal ? 9 : 0,
                                            .exit_code = strcmp(cause, "exit") == 0 ? 3 : -1,
                                            .max_rss_bytes = 1 << 20,
                                            .cpu_ms = 12,
                                            .last_words = words});
}

/* Finds the texts behind the head. False if the chunk is damaged. */
static bool read_chunk(struct bytes chunk, struct plan *plan, const char *texts[TEXTS]) {
    size_t at = sizeof *plan;
    if (chunk.size < at)
        return false;
    memcpy(plan, chunk.data, sizeof *plan);
    for (int i = 0; i < TEXTS; i++) {
        if (plan->sizes[i] >= chunk.size - at)
            return false;
        texts[i] = (const char *)chunk.data + at;
        at += plan->sizes[i] + 1;
    }
    return at == chunk.size && plan->lost < sizeof lost_choices / sizeof *lost_choices - 1;
}

static int report_run(struct call *c, struct bytes common, struct bytes chunk) {
    struct plan plan;
    const char *texts[TEXTS];
    char line[32];
    (void)common;
    if (!read_chunk(chunk, &plan, texts))
        return call_fail(c, CALL_FAILED, NULL, "the chunk is damaged");
    call_log(c, texts[TEXT_PRINT], plan.sizes[TEXT_PRINT]);
    call_log(c, texts[TEXT_BYTES], plan.sizes[TEXT_BYTES]);
    for (uint32_t i = 0; i < plan.lines && !call_cancelled(c); i++) {
        int size = snprintf(line, sizeof line, "line %u\n", i);
        call_log(c, line, (size_t)size);
    }
    for (uint32_t ms = 0; ms < plan.wait_ms && !call_cancelled(c); ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    uint32_t attempt = call_attempt(c);
    if (plan.lost > 0 && (plan.times == 0 || attempt < plan.times))
        return lose(c, lost_choices[plan.lost]);
    if (plan.sizes[TEXT_EXCEPTION] > 0)
        return call_fail_exception(c, texts[TEXT_EXCEPTION], texts[TEXT_DETAIL], texts[TEXT_TRACEBACK]);
    return call_cancelled(c) ? -1 : part_write(c, &attempt, sizeof attempt);
}

static int report_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common;
    uint32_t attempts;
    if (count != 1 || parts[0].size != sizeof attempts)
        return call_fail(c, CALL_FAILED, NULL, "the part is damaged");
    memcpy(&attempts, parts[0].data, sizeof attempts);
    json_begin_object(c);
    json_name(c, "survived_attempts");
    json_u64(c, attempts);
    json_name(c, "deadline_ms");
    json_i64(c, call_deadline(c) / 1000000);
    json_end_object(c);
    return 0;
}

static const struct param_spec report_params[] = {
    {.name = "print", .kind = PARAM_TEXT, .fallback = "\"\"", .help = "text for the log of the job"},
    {.name = "hex", .kind = PARAM_TEXT, .fallback = "\"\"", .help = "bytes for the log of the job, as hex digits"},
    {.name = "lines",
     .kind = PARAM_INTEGER,
     .min = "0",
     .max = "1000000",
     .fallback = "0",
     .help = "so many numbered lines for the log of the job, one by one"},
    {.name = "wait_ms",
     .kind = PARAM_INTEGER,
     .min = "0",
     .max = "86400000",
     .fallback = "0",
     .help = "how long it waits when it has printed"},
    {.name = "exception", .kind = PARAM_TEXT, .fallback = "\"\"", .help = "it fails with an exception of that class"},
    {.name = "detail", .kind = PARAM_TEXT, .fallback = "\"\"", .help = "the message of the exception"},
    {.name = "traceback", .kind = PARAM_TEXT, .fallback = "\"\"", .help = "the traceback of the exception"},
    {.name = "lost",
     .kind = PARAM_ENUM,
     .choices = lost_choices,
     .fallback = "\"no\"",
     .help = "the attempt is lost for this cause, and the worker lives"},
    {.name = "times",
     .kind = PARAM_INTEGER,
     .min = "0",
     .max = "1000000",
     .fallback = "0",
     .help = "lose the first so many attempts only; 0: all of them"},
    {.name = "cost_us",
     .kind = PARAM_INTEGER,
     .min = "0",
     .max = "1000000",
     .fallback = "30000",
     .help = "what the plan says that it costs"},
    {0}};

const struct handler handler_report = {.abi = HANDLER_ABI,
                                       .name = "report",
                                       .summary = "Print to the log of the job, lose attempts without a worker, raise",
                                       .flags = HANDLER_TEST,
                                       .params = report_params,
                                       .plan = report_plan,
                                       .run = report_run,
                                       .merge = report_merge};
