/* echo.c: the job type "echo": its result is the value it was given. It is a test type, for clients that want to see
 * a job go the whole way, and the smallest handler, for you to read before you write one.
 *
 *     echo {"value": any JSON}  ->  {"value": the same}
 *
 * A job passes through the functions below from top to bottom, each perhaps in another process, so what one of them
 * wants the next to know it must send along: that is what chunks and parts are. All that you may call is declared and
 * explained in handlers/handler.h. To add a job type of your own:
 *
 *     1. Copy this file to handlers/NAME.c. In the copy replace "echo" by NAME everywhere.
 *     2. In the copy delete the line with .flags: HANDLER_TEST hides a type unless --enable-test-types is given.
 *     3. Add HANDLER(NAME) to the list in handlers/host/registry.c, and build.
 *
 * That is a job type that works; tests/http/tutorial.bats does just this. Then make it do what you want. The next handler
 * to read is handlers/collatz.c, whose jobs are divided into many chunks.
 *
 * Runs in workers. */
#include "handlers/handler.h"

/* The parameters: checked before plan is called, and shown to clients by GET /v1/types. */
static const struct param_spec echo_params[] = {
    {"value", PARAM_JSON, PARAM_REQUIRED, .help = "any JSON value"},
    {0},
};

/* plan: parameters -> chunks. A chunk is bytes of our own making, and one chunk is the least a job can have. A job
 * that is worth dividing calls plan_chunk several times. */
static int echo_plan(struct call *c, const struct params *p) {
    size_t size;
    const char *json = param_json(p, "value", &size);
    uint64_t cost_ns = 1000 + size / 4; /* two copies of some 8 GB/s each: only the order of magnitude matters */
    return plan_chunk(c, json, size, cost_ns);
}

/* run: one chunk -> one part, in parallel with the job's other chunks. Long work tells how far it is (call_progress)
 * and gives up when it is told to (call_cancelled). */
static int echo_run(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common; /* what plan_common set: the same for all chunks. There is nothing here. */
    return part_write(c, chunk.data, chunk.size);
}

/* merge: all parts, in the order of their chunks -> the result. The JSON writer puts the commas and the escapes. */
static int echo_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common;
    (void)count; /* as many as plan made chunks: one */
    json_begin_object(c);
    json_name(c, "value");
    json_verbatim(c, parts[0].data, parts[0].size);
    json_end_object(c);
    return 0;
}

const struct handler handler_echo = {
    .abi = HANDLER_ABI,
    .name = "echo",
    .summary = "Returns the value it was given",
    .flags = HANDLER_TEST,
    .params = echo_params,
    .plan = echo_plan,
    .run = echo_run,
    .merge = echo_merge,
};
