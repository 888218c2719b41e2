/* echo.c: the job type "echo": its result is the value that it was given. It is a test type, for clients that want to
 * see a job go the whole way. It is also the smallest handler, for you to read before you write one.
 *
 *     echo {"value": any JSON}  ->  {"value": the same}
 *
 * A job passes through the functions below, from top to bottom. Each of them can be called in another process, so a
 * function must send along what the next one has to know. That is what chunks and parts are for. All functions that you
 * can call are declared and explained in handlers/handler.h. To add your own job type:
 *
 *     1. Copy this file to handlers/NAME.c. In the copy replace "echo" by NAME everywhere.
 *     2. In the copy delete the line with .flags: HANDLER_TEST hides a type unless --enable-test-types is given.
 *     3. Add HANDLER(NAME) to the list in handlers/host/registry.c, and build.
 *
 * Now you have a job type that works; tests/http/tutorial.bats follows these steps. Then make it do what you want. The
 * next handler to read is handlers/collatz.c, whose jobs are divided into many chunks.
 *
 * It runs in workers. */
#include "handlers/handler.h"

/* The parameters. They are checked before plan is called, and GET /v1/types shows them to clients. */
static const struct param_spec echo_params[] = {
    {"value", PARAM_JSON, PARAM_REQUIRED, .help = "any JSON value"},
    {0},
};

/* plan: parameters -> chunks. A chunk is any bytes that run understands. A job has at least one chunk. The plan of a
 * job that is worth dividing calls plan_chunk several times. */
static int echo_plan(struct call *c, const struct params *p) {
    size_t size;
    const char *json = param_json(p, "value", &size);
    uint64_t cost_ns = 1000 + size / 4; /* two copies, at some 8 GB/s each; only the order of magnitude matters */
    return plan_chunk(c, json, size, cost_ns);
}

/* run: one chunk -> one part, in parallel with the other chunks of the job. Long work reports how far it is
 * (call_progress), and stops when the job is cancelled (call_cancelled). */
static int echo_run(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common; /* the bytes of plan_common, the same for all chunks; here there are none */
    return part_write(c, chunk.data, chunk.size);
}

/* merge: all parts, in the order of their chunks -> the result. The JSON writer adds the commas and the escapes. */
static int echo_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common;
    (void)count; /* as many as there are chunks: one */
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
