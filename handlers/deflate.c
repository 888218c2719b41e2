/* deflate.c: the hidden type "result-deflate": compresses an answer for a client that accepts it (Accept-Encoding; RFC
 * 9110, section 12.5.3), for the front end. It runs in workers. The quickest level is taken, because the client waits. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "handlers/handler.h"

#define ROOM        (256 * 1024) /* bytes that are taken or made at a time */
#define SMALL       (32 * 1024)  /* bytes that need no memfd of their own */
#define NS_PER_BYTE 10
#define LEVEL       1
#define GZIP_WINDOW (15 + 16) /* for zlib: with the frame of gzip */
#define MEMORY      8         /* for zlib: its default */

enum coding { CODING_GZIP, CODING_ZSTD };
static const char *const codings[] = {"gzip", "zstd", NULL};
static const char *const types[] = {"application/gzip", "application/zstd", NULL};

/* The common bytes. */
struct task {
    uint32_t coding, data;
    uint64_t size;
};

struct deflating {
    struct call *call;
    const unsigned char *from;
    size_t size;
    int fd;
    uint64_t made;
    unsigned char room[ROOM];
};

static int deflate_plan(struct call *c, const struct params *p) {
    struct attachment data;
    struct task task = {.coding = (uint32_t)param_choice(p, "coding")};
    if (!param_attachment(p, "data", &data))
        return call_fail(c, CALL_FAILED, NULL, "there is no answer");
    task.data = data.index;
    task.size = data.size;
    if (plan_common(c, &task, sizeof task) != 0)
        return -1;
    return plan_chunk(c, "", 0, task.size * NS_PER_BYTE);
}

static int no_memory(struct call *c) {
    return call_fail(c, CALL_MEMORY, NULL, "there is no memory to compress the answer");
}

/* Writes what was made in the room. -1 after call_fail, or if it was cancelled. */
static int take(struct deflating *d, size_t size) {
    const unsigned char *at = d->room;
    d->made += size;
    while (size > 0) {
        ssize_t n = write(d->fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return no_memory(d->call);
        at += n;
        size -= (size_t)n;
    }
    return call_cancelled(d->call) ? -1 : 0;
}

static int deflate_pieces(struct deflating *d, z_stream *z) {
    size_t at = 0;
    int rc = Z_OK;
    while (rc != Z_STREAM_END) {
        if (z->avail_in == 0 && at < d->size) {
            union {
                const unsigned char *in;
                Bytef *out;
            } next = {d->from + at};
            size_t n = d->size - at < ROOM ? d->size - at : ROOM;
            z->next_in = next.out;
            z->avail_in = (uInt)n;
            at += n;
        }
        z->next_out = d->room;
        z->avail_out = ROOM;
        rc = deflate(z, at == d->size ? Z_FINISH : Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return call_fail(d->call, CALL_FAILED, NULL, "the library could not compress the answer");
        if (take(d, ROOM - z->avail_out) != 0)
            return -1;
    }
    return 0;
}

static int run_gzip(struct deflating *d) {
    z_stream z = {0};
    if (deflateInit2(&z, LEVEL, Z_DEFLATED, GZIP_WINDOW, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        return no_memory(d->call);
    int rc = deflate_pieces(d, &z);
    deflateEnd(&z);
    return rc;
}

static int zstd_pieces(struct deflating *d, ZSTD_CCtx *z) {
    size_t left = 1;
    ZSTD_inBuffer in = {d->from, 0, 0};
    while (left != 0) {
        ZSTD_outBuffer out = {d->room, ROOM, 0};
        if (in.pos == in.size && in.size < d->size)
            in.size = d->size - in.pos < ROOM ? d->size : in.pos + ROOM;
        bool last = in.size == d->size;
        left = ZSTD_compressStream2(z, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return call_fail(d->call, CALL_FAILED, NULL, "the library could not compress the answer");
        left = last ? left : 1;
        if (take(d, out.pos) != 0)
            return -1;
    }
    return 0;
}

static int run_zstd(struct deflating *d) {
    ZSTD_CCtx *z = ZSTD_createCCtx();
    if (z == NULL || ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, LEVEL))) {
        ZSTD_freeCCtx(z);
        return no_memory(d->call);
    }
    int rc = zstd_pieces(d, z);
    ZSTD_freeCCtx(z);
    return rc;
}

/* The part from what was made. Closes the descriptor. */
static int finish(struct deflating *d) {
    if (d->made > SMALL)
        return part_adopt(d->call, d->fd, 0, d->made);
    bool read = pread(d->fd, d->room, (size_t)d->made, 0) == (ssize_t)d->made;
    close(d->fd);
    return read ? part_write(d->call, d->room, (size_t)d->made) : no_memory(d->call);
}

static int deflate_run(struct call *c, struct bytes common, struct bytes chunk) {
    struct task task;
    (void)chunk;
    if (common.size != sizeof task)
        return call_fail(c, CALL_FAILED, NULL, "the plan is damaged");
    memcpy(&task, common.data, sizeof task);
    const unsigned char *from = call_map(c, task.data, 0, (size_t)task.size);
    if (from == NULL)
        return -1;
    struct deflating *d = calloc(1, sizeof *d);
    int fd = memfd_create("offload-deflated", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (d == NULL || fd < 0) {
        free(d);
        if (fd >= 0)
            close(fd);
        return no_memory(c);
    }
    d->call = c;
    d->from = from;
    d->size = (size_t)task.size;
    d->fd = fd;
    int rc = task.coding == CODING_ZSTD ? run_zstd(d) : run_gzip(d);
    if (rc == 0)
        rc = finish(d);
    else
        close(fd);
    free(d);
    return rc;
}

static int deflate_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    struct task task;
    if (common.size != sizeof task || count != 1)
        return call_fail(c, CALL_FAILED, NULL, "the plan is damaged");
    memcpy(&task, common.data, sizeof task);
    return result_part(c, types[task.coding == CODING_ZSTD], 0, 0, parts[0].size);
}

static const struct param_spec deflate_params[] = {
    {.name = "data", .kind = PARAM_BYTES, .flags = PARAM_REQUIRED, .min = "1", .help = "the answer"},
    {.name = "coding", .kind = PARAM_ENUM, .flags = PARAM_REQUIRED, .choices = codings, .help = "what it gets"},
    {0}};

const struct handler handler_deflate = {.abi = HANDLER_ABI,
                                        .name = "result-deflate",
                                        .summary = "Compress an answer",
                                        .flags = HANDLER_HIDDEN,
                                        .params = deflate_params,
                                        .results = types,
                                        .plan = deflate_plan,
                                        .run = deflate_run,
                                        .merge = deflate_merge};
