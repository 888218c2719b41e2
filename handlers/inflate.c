/* inflate.c: the hidden type "body-inflate": makes the body of a request from its compressed form (Content-Encoding: gzip,
 * deflate, zstd; RFC 9110, section 8.4.1, RFC 8878), for the front end. It runs in workers.
 *
 * It does not trust the body, so what comes out is bounded, in bytes and as a multiple of what came in, and it is written
 * to a memfd as it is made. The part begins with a word that says how it went, for a body that is wrong is no fault of
 * this handler. The result is the bytes, or that word as JSON. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "handlers/handler.h"

#define ROOM        (256 * 1024)  /* bytes that are made at a time */
#define SMALL       (32 * 1024)   /* bytes that need no memfd of their own */
#define ALWAYS      (1024 * 1024) /* bytes that can be made whatever the ratio is */
#define NS_PER_BYTE 20            /* of what comes in */
#define HEAD        64            /* bytes of the part before the body; so the body is aligned as a part is */
#define WINDOW_LOG  23            /* 8 MiB, the most that a client may use (RFC 9659) */
#define GZIP_WINDOW (15 + 16)     /* for zlib: with the frame of gzip */

enum coding { CODING_GZIP, CODING_DEFLATE, CODING_ZSTD };
static const char *const codings[] = {"gzip", "deflate", "zstd", NULL};
static const char *const types[] = {"application/octet-stream", NULL};

enum outcome { FINE, DAMAGED, WINDOW_TOO_LARGE, TOO_LARGE, TOO_MUCH };
static const char *const outcomes[] = {"", "damaged", "window", "large", "ratio"};

/* The common bytes. */
struct task {
    uint32_t coding, data;
    uint64_t size, limit, ratio;
};

struct inflating {
    struct call *call;
    const struct task *task;
    int fd;
    uint64_t made;
    enum outcome outcome;
    unsigned char room[ROOM];
};

static int inflate_plan(struct call *c, const struct params *p) {
    struct attachment data;
    struct task task = {.coding = (uint32_t)param_choice(p, "coding")};
    if (!param_attachment(p, "data", &data) || !param_u64(p, "limit", &task.limit) ||
        !param_u64(p, "ratio", &task.ratio))
        return call_fail(c, CALL_FAILED, NULL, "there is no body");
    task.data = data.index;
    task.size = data.size;
    if (plan_common(c, &task, sizeof task) != 0)
        return -1;
    return plan_chunk(c, "", 0, task.size * NS_PER_BYTE);
}

static bool write_all(int fd, const unsigned char *bytes, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

/* Bytes were made in the room. False: it ends here, as i->outcome says; or after call_fail, or because it was cancelled. */
static bool take(struct inflating *i, size_t size) {
    const struct task *t = i->task;
    i->made += size;
    if (i->made > t->limit)
        i->outcome = TOO_LARGE;
    else if (i->made > ALWAYS && i->made / t->ratio > t->size)
        i->outcome = TOO_MUCH;
    else if (!write_all(i->fd, i->room, size))
        call_fail(i->call, CALL_MEMORY, NULL, "there is no memory for the body");
    else
        return !call_cancelled(i->call);
    return false;
}

/* zlib takes 32 bits of size at a time. */
static void feed(z_stream *z, const unsigned char **at, size_t *left) {
    union {
        const unsigned char *in;
        Bytef *out;
    } next = {*at};
    size_t n = *left < ROOM ? *left : ROOM;
    z->next_in = next.out;
    z->avail_in = (uInt)n;
    *at += n;
    *left -= n;
}

/* Some members of gzip can stand one behind the other (RFC 1952, section 2.2). */
static void inflate_zlib(struct inflating *i, z_stream *z, const unsigned char *at, size_t left) {
    int rc = Z_OK;
    for (;;) {
        if (z->avail_in == 0 && left > 0)
            feed(z, &at, &left);
        if (rc == Z_STREAM_END && z->avail_in == 0)
            return;
        if (rc == Z_STREAM_END && (i->task->coding != CODING_GZIP || inflateReset(z) != Z_OK))
            break;
        z->next_out = i->room;
        z->avail_out = ROOM;
        rc = inflate(z, Z_NO_FLUSH);
        if (rc == Z_MEM_ERROR) {
            call_fail(i->call, CALL_MEMORY, NULL, "there is no memory to inflate the body");
            return;
        }
        if (rc != Z_OK && rc != Z_STREAM_END)
            break; /* Z_BUF_ERROR: it is cut off */
        if (!take(i, ROOM - z->avail_out))
            return;
    }
    i->outcome = DAMAGED;
}

static void run_zlib(struct inflating *i, const unsigned char *from, size_t size) {
    z_stream z = {0};
    if (inflateInit2(&z, i->task->coding == CODING_GZIP ? GZIP_WINDOW : MAX_WBITS) != Z_OK) {
        call_fail(i->call, CALL_MEMORY, NULL, "there is no memory to inflate the body");
        return;
    }
    inflate_zlib(i, &z, from, size);
    inflateEnd(&z);
}

/* Some frames can stand one behind the other (RFC 8878, section 3.1). */
static void inflate_zstd(struct inflating *i, ZSTD_DStream *z, const unsigned char *from, size_t size) {
    ZSTD_inBuffer in = {from, size, 0};
    size_t rc = 1;
    while (in.pos < in.size || rc != 0) {
        ZSTD_outBuffer out = {i->room, ROOM, 0};
        size_t before = in.pos;
        rc = ZSTD_decompressStream(z, &out, &in);
        if (ZSTD_isError(rc)) {
            i->outcome = ZSTD_getErrorCode(rc) == ZSTD_error_frameParameter_windowTooLarge ? WINDOW_TOO_LARGE : DAMAGED;
            if (ZSTD_getErrorCode(rc) == ZSTD_error_memory_allocation)
                call_fail(i->call, CALL_MEMORY, NULL, "there is no memory to inflate the body");
            return;
        }
        if (rc != 0 && out.pos == 0 && in.pos == before) {
            i->outcome = DAMAGED; /* it is cut off */
            return;
        }
        if (!take(i, out.pos))
            return;
    }
}

static void run_zstd(struct inflating *i, const unsigned char *from, size_t size) {
    ZSTD_DStream *z = ZSTD_createDStream();
    if (z == NULL || ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, WINDOW_LOG)))
        call_fail(i->call, CALL_MEMORY, NULL, "there is no memory to inflate the body");
    else
        inflate_zstd(i, z, from, size);
    ZSTD_freeDStream(z);
}

/* The part from what was made. Closes the descriptor. */
static int finish(struct inflating *i) {
    unsigned char head[HEAD] = {(unsigned char)i->outcome};
    if (i->outcome != FINE) {
        close(i->fd);
        return part_write(i->call, head, sizeof head);
    }
    size_t size = HEAD + (size_t)i->made;
    bool written = pwrite(i->fd, head, sizeof head, 0) == (ssize_t)sizeof head;
    if (written && size > SMALL)
        return part_adopt(i->call, i->fd, 0, size);
    written = written && pread(i->fd, i->room, size, 0) == (ssize_t)size;
    close(i->fd);
    return written ? part_write(i->call, i->room, size)
                   : call_fail(i->call, CALL_MEMORY, NULL, "there is no memory for the body");
}

static int inflate_run(struct call *c, struct bytes common, struct bytes chunk) {
    struct task task;
    (void)chunk;
    if (common.size != sizeof task)
        return call_fail(c, CALL_FAILED, NULL, "the plan is damaged");
    memcpy(&task, common.data, sizeof task);
    const unsigned char *from = task.size == 0 ? NULL : call_map(c, task.data, 0, (size_t)task.size);
    if (task.size > 0 && from == NULL)
        return -1;
    struct inflating *i = calloc(1, sizeof *i);
    int fd = memfd_create("offload-inflated", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (i == NULL || fd < 0 || lseek(fd, HEAD, SEEK_SET) != HEAD) {
        free(i);
        if (fd >= 0)
            close(fd);
        return call_fail(c, CALL_MEMORY, NULL, "there is no memory to inflate the body");
    }
    i->call = c;
    i->task = &task;
    i->fd = fd;
    if (task.size == 0)
        i->outcome = DAMAGED;
    else if (task.coding == CODING_ZSTD)
        run_zstd(i, from, (size_t)task.size);
    else
        run_zlib(i, from, (size_t)task.size);
    /* After call_fail this is in vain, and no harm: the first reason counts. */
    int rc = call_cancelled(c) ? -1 : finish(i);
    free(i);
    return rc;
}

static int inflate_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    const unsigned char *head = count == 1 && parts[0].size >= HEAD ? parts[0].data : NULL;
    (void)common;
    if (head == NULL || head[0] > TOO_MUCH)
        return call_fail(c, CALL_FAILED, NULL, "the part is damaged");
    if (head[0] == FINE)
        return result_part(c, types[0], 0, HEAD, parts[0].size - HEAD);
    json_text(c, outcomes[head[0]], strlen(outcomes[head[0]]));
    return 0;
}

static const struct param_spec inflate_params[] = {
    {.name = "data", .kind = PARAM_BYTES, .flags = PARAM_REQUIRED, .help = "the body as it came"},
    {.name = "coding", .kind = PARAM_ENUM, .flags = PARAM_REQUIRED, .choices = codings, .help = "its content coding"},
    {.name = "limit",
     .kind = PARAM_INTEGER,
     .flags = PARAM_REQUIRED,
     .min = "0",
     .max = "9007199254740991",
     .help = "how many bytes the body can have"},
    {.name = "ratio",
     .kind = PARAM_INTEGER,
     .flags = PARAM_REQUIRED,
     .min = "1",
     .max = "1000000000",
     .help = "how many times as large it can become"},
    {0}};

const struct handler handler_inflate = {.abi = HANDLER_ABI,
                                        .name = "body-inflate",
                                        .summary = "Make the body of a request from its compressed form",
                                        .flags = HANDLER_HIDDEN,
                                        .params = inflate_params,
                                        .results = types,
                                        .plan = inflate_plan,
                                        .run = inflate_run,
                                        .merge = inflate_merge};
