/* bytes.c: the test type "bytes": it does simple things to binary data, in every way in which a handler can read and make
 * it. It runs in workers.
 *
 *     op        the plan                       a chunk makes                           the result
 *     sum       pieces of the data             the sum of its bytes                    JSON
 *     echo      one chunk                      nothing                                 the attachment as it is
 *     reverse   one chunk                      a part in a memfd                       the part
 *     add       pieces; an output, if the      each byte plus 1, in place or in the    the attachment or the output,
 *               data are not the job's own     output                                  and a summary
 *     copy      one chunk                      a part on the heap                      bytes
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "handlers/handler.h"

enum op { OP_SUM, OP_ECHO, OP_REVERSE, OP_ADD, OP_COPY };
static const char *const ops[] = {"sum", "echo", "reverse", "add", "copy", NULL};
static const char *const types[] = {"application/octet-stream", "text/plain", NULL};
static const char *const formats[] = {"binary", "text", NULL};

/* The common bytes. */
struct task {
    uint32_t op, format, data, output; /* the last two are attachments; output UINT32_MAX: there is none */
    uint64_t size, hold_ms;
};

/* A chunk. */
struct piece {
    uint64_t offset, size;
};

static int bytes_plan(struct call *c, const struct params *p) {
    struct attachment data;
    struct task task = {
        .op = (uint32_t)param_choice(p, "op"), .format = (uint32_t)param_choice(p, "format"), .output = UINT32_MAX};
    if (!param_attachment(p, "data", &data))
        return call_fail(c, CALL_FAILED, NULL, "there are no data");
    param_u64(p, "hold_ms", &task.hold_ms);
    task.data = data.index;
    task.size = data.size;
    uint64_t chunks = task.op == OP_SUM || task.op == OP_ADD ? plan_wanted_chunks(c) : 1;
    chunks = chunks == 0 ? 1 : chunks > data.size ? data.size : chunks;
    chunks = chunks == 0 ? 1 : chunks;
    if (task.op == OP_ADD && call_map_own(c, data.index, 0, (size_t)data.size) == NULL &&
        plan_output(c, data.size, &task.output) != 0)
        return -1;
    if (plan_common(c, &task, sizeof task) != 0)
        return -1;
    for (uint64_t i = 0; i < chunks; i++) {
        struct piece piece = {data.size * i / chunks, data.size * (i + 1) / chunks - data.size * i / chunks};
        if (plan_chunk(c, &piece, sizeof piece, task.hold_ms * 1000000 + piece.size) != 0)
            return -1;
    }
    return 0;
}

static bool hold(struct call *c, uint64_t ms) {
    const struct timespec turn = {.tv_nsec = 1000000};
    for (; ms > 0; ms--) {
        if (call_cancelled(c))
            return false;
        nanosleep(&turn, NULL);
    }
    return true;
}

static int run_sum(struct call *c, const struct piece *piece, const unsigned char *from) {
    uint64_t sum = 0;
    for (size_t i = 0; i < piece->size; i++)
        sum += from[i];
    return part_write(c, &sum, sizeof sum);
}

static int run_reverse(struct call *c, const struct piece *piece, const unsigned char *from) {
    unsigned char *to = part_map(c, (size_t)piece->size);
    if (to == NULL)
        return -1;
    for (size_t i = 0; i < piece->size; i++)
        to[i] = from[piece->size - 1 - i];
    return 0;
}

static int run_add(struct call *c, const struct task *task, const struct piece *piece) {
    bool in_place = task->output == UINT32_MAX;
    if (piece->size == 0)
        return part_write(c, "", 0);
    unsigned char *to = call_map_own(c, in_place ? task->data : task->output, piece->offset, (size_t)piece->size);
    const unsigned char *from = in_place ? to : call_map(c, task->data, piece->offset, (size_t)piece->size);
    if (to == NULL || from == NULL)
        return call_fail(c, CALL_FAILED, NULL, "the data cannot be written");
    for (size_t i = 0; i < piece->size; i++)
        to[i] = (unsigned char)(from[i] + 1);
    return 0;
}

static int bytes_run(struct call *c, struct bytes common, struct bytes chunk) {
    struct task task;
    struct piece piece;
    if (common.size != sizeof task || chunk.size != sizeof piece)
        return call_fail(c, CALL_FAILED, NULL, "the chunk is damaged");
    memcpy(&task, common.data, sizeof task);
    memcpy(&piece, chunk.data, sizeof piece);
    if (!hold(c, task.hold_ms))
        return -1;
    if (task.op == OP_ADD)
        return run_add(c, &task, &piece);
    if (task.op == OP_ECHO)
        return 0;
    const unsigned char *from = call_map(c, task.data, piece.offset, (size_t)piece.size);
    if (from == NULL)
        return -1;
    return task.op == OP_SUM       ? run_sum(c, &piece, from)
           : task.op == OP_REVERSE ? run_reverse(c, &piece, from)
                                   : part_write(c, from, (size_t)piece.size);
}

static int merge_sum(struct call *c, const struct bytes *parts, size_t count) {
    uint64_t sum = 0, one;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size != sizeof one)
            return call_fail(c, CALL_FAILED, NULL, "part %zu is damaged", i);
        memcpy(&one, parts[i].data, sizeof one);
        sum += one;
    }
    json_begin_object(c);
    json_name(c, "sum");
    json_u64(c, sum);
    json_end_object(c);
    return 0;
}

static int bytes_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    struct task task;
    if (common.size != sizeof task)
        return call_fail(c, CALL_FAILED, NULL, "the plan is damaged");
    memcpy(&task, common.data, sizeof task);
    const char *type = types[task.format % 2];
    if (task.op == OP_SUM)
        return merge_sum(c, parts, count);
    if (task.op == OP_REVERSE)
        return result_part(c, type, 0, 0, parts[0].size);
    if (task.op == OP_COPY)
        return result_bytes(c, type, parts[0].data, parts[0].size);
    if (task.op == OP_ADD) {
        json_begin_object(c);
        json_name(c, "in_place");
        json_bool(c, task.output == UINT32_MAX);
        json_end_object(c);
    }
    bool output = task.op == OP_ADD && task.output != UINT32_MAX;
    return result_attachment(c, type, output ? task.output : task.data, 0, task.size);
}

static const struct param_spec bytes_params[] = {
    {.name = "data", .kind = PARAM_BYTES, .flags = PARAM_REQUIRED | PARAM_IN_PLACE, .help = "any bytes"},
    {.name = "op", .kind = PARAM_ENUM, .fallback = "\"sum\"", .choices = ops, .help = "what is done to them"},
    {.name = "format", .kind = PARAM_ENUM, .fallback = "\"binary\"", .choices = formats, .help = "of the result"},
    {.name = "hold_ms",
     .kind = PARAM_INTEGER,
     .min = "0",
     .max = "60000",
     .fallback = "0",
     .help = "how long a chunk waits before it begins"},
    {0}};

const struct handler handler_bytes = {.abi = HANDLER_ABI,
                                      .name = "bytes",
                                      .summary = "Do simple things to binary data",
                                      .flags = HANDLER_TEST,
                                      .params = bytes_params,
                                      .results = types,
                                      .result_param = "format",
                                      .plan = bytes_plan,
                                      .run = bytes_run,
                                      .merge = bytes_merge};
