/* worker.c: the loop of a worker process.
 *
 *     forked by the zygote ────────────────────┬──► READY ──► receive ──► work ──► reply ──┐
 *     executed by it, and one handler loaded ──┘                ▲                          │
 *                                                               └──────────────────────────┘
 *     ends by: WIRE_EXIT · EOF (the front end is gone) · SIGKILL (PDEATHSIG when the zygote dies; cancel; limits)
 *              SIGTERM, but only while the current task is cancelled: a supervisor can send SIGTERM to all processes
 *              of the service at once, and that must not lose tasks
 *
 * One thread, blocking reads and writes. The tasks are done in order; short ones of a type that takes them in batches
 * are done together, and more are taken while the first ones are under way. The replies are gathered into datagrams
 * (replies.h), which leave at latest when all tasks are done, and before one begins that is not tiny. So tiny tasks
 * share a system call, and no reply waits for a task that was expected to be slow. A reply can still wait for a task
 * that is slower than expected; the scoreboard tells the front end that the work of that reply is done (held_back.h).
 */
#include "pool/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/log.h"
#include "handlers/host/host.h"
#include "handlers/program/programs.h"
#include "pool/replies.h"
#include "pool/scoreboard.h"
#include "pool/sources.h"
#include "pool/supply.h"
#include "pool/wire.h"

#define TINY_NS              (100 * INT64_C(1000)) /* a task that costs less does not wait for replies to leave */
#define SHORT_NS             (1 * NS_PER_MS)       /* a chunk that costs no more can be one of a batch */
#define TINY_BYTES           4096                  /* likewise for a plan or a merge, of which no cost is known */
/* From this size on a buffer has a mapping of its own, which grows without a copy: a copy would hold it twice. Without a
 * value of ours the allocator raises its threshold up to 32 MiB, when a buffer is freed. */
#define MAPPED_FROM          (4 * 1024 * 1024)
#define IDLE_MS              20   /* a worker that has had no work for so long gives memory back */
#define MAX_JSON_DEPTH_LIMIT 2048 /* jansson's own; the front end sends the configured one in `count` */

/* A merge whose parts have not all come yet. */
struct begun_merge {
    struct wire_header header; /* kind 0: none */
    struct slice common;
    struct slice *parts;
    size_t have;
};

/* A task of a batch. They are replied to in their order, so one that is done can wait for those before it. */
struct batched {
    struct wire_header header;
    struct host_hooks hooks; /* their argument is the ticket in the header */
    struct outcome outcome;
    struct host_plan plan; /* WIRE_PLAN: has the only chunk */
    struct buf copy;       /* WIRE_RUN: has the common and the chunk, as the datagram is used again */
    struct bytes common;   /* within one of these */
    bool done;
    int64_t wall_ns; /* what it took so far */
};

/* An attachment of the task that comes next. */
struct attached {
    uint32_t index;
    bool own;
    struct slice bytes;
    char media_type[HANDLER_MAX_MEDIA_TYPE + 1];
};

static struct {
    unsigned slot;
    int socket;
    struct scoreboard_slot *board;
    uint64_t ticket;
    uint32_t titled; /* the type in the process title, plus 1; 0: none */
    unsigned char *buffer;
    struct wire_reader reader; /* of the datagram in the buffer */
    bool reading;              /* there is one */
    struct wire_frame ahead;   /* the next frame, if has_ahead */
    bool has_ahead;
    struct batched *batch; /* a ring of BATCH_MAX; NULL: there was no batch yet */
    unsigned batch_front, batch_count;
    int64_t batch_lap_ns; /* when the task at the front can have begun */
    int64_t lap_ns;       /* when the step that runs now began */
    struct begun_merge merge;
    struct attached *attached; /* heap; in the order of their numbers, without a gap */
    size_t attached_count, attached_room;
    uint64_t attached_ticket;      /* of the task that they are for */
    struct host_attachment *views; /* of them, for the host; and of what the plan has made */
    struct host_attachments attachments;
    /* The bulk payload of the current task, mapped; NULL: there is none, or it was released. */
    struct slice *bulk;
    const unsigned char *mapped;
    size_t largest_bulk; /* of the bulk payloads since memory was last given back, bytes */
} self;

/* ---- hooks for the handler --------------------------------------------------------------------------------------- */

/* arg: the ticket of a task in a batch; NULL: the task that runs. */
static uint64_t ticket_of(const void *arg) {
    return arg == NULL ? self.ticket : *(const uint64_t *)arg;
}

static bool is_cancelled(void *arg) {
    uint64_t ticket = ticket_of(arg);
    return atomic_load_explicit(&self.board->cancelled[ticket % WIRE_MAX_IN_FLIGHT], memory_order_relaxed) == ticket;
}

static void show_progress(void *arg, uint64_t done, uint64_t total) {
    if (ticket_of(arg) != self.ticket)
        return; /* of a batch, the front end only sees the task at the front */
    atomic_store_explicit(&self.board->done, done, memory_order_relaxed);
    atomic_store_explicit(&self.board->total, total, memory_order_relaxed);
}

static void add_log(void *arg, const char *text, size_t size) {
    replies_log(ticket_of(arg), text, size);
}

static void report_death(void *arg, const struct host_loss *how) {
    replies_died(ticket_of(arg), how);
}

static struct host_hooks hooks = {NULL, show_progress, is_cancelled, add_log, 0, NULL, NULL, report_death};

static void on_sigterm(int signal) {
    (void)signal;
    if (self.board != NULL && self.ticket != 0 && is_cancelled(NULL) && !programs_on_sigterm())
        _exit(128 + SIGTERM);
}

static void note_bulk(size_t size) {
    self.largest_bulk = size > self.largest_bulk ? size : self.largest_bulk;
}

static void release_bulk(void) {
    if (self.mapped != NULL)
        slice_unmap(self.bulk, self.mapped);
    self.mapped = NULL;
}

/* ---- attachments ------------------------------------------------------------------------------------------------- */

static bool split_common(struct bytes *payload, struct bytes *common);

/* An attachment of the task that follows. */
static void add_attachment(const struct wire_header *h, struct bytes payload, struct slice *bulk) {
    struct bytes media_type;
    if (self.merge.header.kind != 0 || (self.attached_count > 0 && self.attached_ticket != h->ticket) ||
        (self.attached_count > 0 && h->type != self.attached[0].index + self.attached_count) ||
        !split_common(&payload, &media_type) || media_type.size > HANDLER_MAX_MEDIA_TYPE ||
        GROW_ARRAY(&self.attached, self.attached_count, &self.attached_room) != 0)
        worker_die();
    struct attached *a = &self.attached[self.attached_count];
    *a = (struct attached){.index = h->type, .own = (h->flags & WIRE_OWN) != 0};
    memcpy(a->media_type, media_type.data, media_type.size);
    a->bytes = bulk->blob != NULL ? slice_ref(bulk) : slice_copy(payload.data, payload.size);
    if (a->bytes.blob == NULL)
        worker_die();
    note_bulk(a->bytes.size);
    self.attached_count++;
    self.attached_ticket = h->ticket;
}

/* What has come must be what the task announces. */
static void begin_attachments(const struct wire_header *h) {
    if (h->attachments != self.attached_count || (h->attachments > 0 && self.attached_ticket != h->ticket))
        worker_die();
}

/* Shows the host what has come for this task, and what its plan has made in this process. */
static void show_attachments(const struct host_output *made) {
    uint32_t first = self.attached_count > 0 ? self.attached[0].index : made != NULL ? made->made_first : 0;
    size_t count = self.attached_count + (made == NULL ? 0 : made->made_count);
    if (count == 0)
        return;
    struct host_attachment *views = reallocarray(self.views, count, sizeof *views);
    if (views == NULL)
        worker_die();
    self.views = views;
    for (size_t i = 0; i < self.attached_count; i++) {
        const struct attached *a = &self.attached[i];
        bool bulk = slice_is_bulk(&a->bytes);
        views[i] = (struct host_attachment){.fd = bulk ? a->bytes.blob->fd : -1,
                                            .bytes = bulk ? NULL : slice_heap(&a->bytes),
                                            .offset = bulk ? a->bytes.offset : 0,
                                            .size = a->bytes.size,
                                            .own = a->own,
                                            .media_type = a->media_type};
    }
    for (size_t i = self.attached_count; i < count; i++) {
        const struct host_made *m = &made->made[i - self.attached_count];
        const void *bytes = m->bytes.data == NULL ? "" : m->bytes.data;
        views[i] = (struct host_attachment){
            .fd = m->fd, .bytes = m->fd >= 0 ? NULL : bytes, .size = m->size, .own = m->fd >= 0, .media_type = ""};
    }
    self.attachments = (struct host_attachments){views, first, (uint32_t)count};
    hooks.attachments = &self.attachments;
}

static void drop_attachments(void) {
    for (size_t i = 0; i < self.attached_count; i++)
        slice_deinit(&self.attached[i].bytes);
    self.attached_count = 0;
    free(self.views);
    self.views = NULL;
    hooks.attachments = NULL;
}

/* The result is a piece of the part, which no other process has: it leaves with the reply. */
static void take_part(struct host_output *o, const struct slice *memfd, const struct buf *part) {
    o->source = HOST_SOURCE_BYTES;
    if (memfd->blob == NULL) {
        buf_append(&o->bytes, part->data + o->offset, (size_t)o->size);
        if (o->bytes.failed)
            worker_die();
        return;
    }
    o->has_fd = true;
    o->fd = fcntl(memfd->blob->fd, F_DUPFD_CLOEXEC, 3);
    o->offset += memfd->offset;
    if (o->fd < 0)
        worker_die();
}

/* The result is a piece of a client's memory, which it can change at any time: a copy of it leaves with the reply. */
static void take_shared(struct host_output *o) {
    if (o->source != HOST_SOURCE_ATTACHMENT || self.attached_count == 0 || o->index < self.attached[0].index ||
        o->index - self.attached[0].index >= self.attached_count)
        return;
    const struct slice *from = &self.attached[o->index - self.attached[0].index].bytes;
    if (!slice_is_bulk(from) || from->blob->seals != BLOB_SHARED)
        return;
    off_t at = (off_t)(from->offset + o->offset);
    int fd = memfd_new("offload-result");
    if (fd < 0)
        worker_die();
    for (uint64_t left = o->size; left > 0;) {
        ssize_t n = sendfile(fd, from->blob->fd, &at, left < (1 << 30) ? (size_t)left : 1 << 30);
        if (n <= 0) { /* it is shorter now: as if we had read it in place */
            signal(SIGBUS, SIG_DFL);
            raise(SIGBUS);
            worker_die();
        }
        left -= (uint64_t)n;
    }
    o->source = HOST_SOURCE_BYTES;
    o->has_fd = true;
    o->fd = fd;
    o->offset = 0;
}

/* The result is a piece of an attachment that only this process has, because the plan was made in the same go: it
 * leaves with the reply. */
static void take_made(struct host_output *o) {
    if (o->source != HOST_SOURCE_ATTACHMENT || o->index < o->made_first || o->index - o->made_first >= o->made_count)
        return;
    const struct host_made *made = &o->made[o->index - o->made_first];
    o->source = HOST_SOURCE_BYTES;
    if (made->fd < 0) {
        buf_append(&o->bytes, made->bytes.data + o->offset, (size_t)o->size);
        if (o->bytes.failed)
            worker_die();
        return;
    }
    int fd = fcntl(made->fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        worker_die();
    o->has_fd = true;
    o->fd = fd;
}

/* ---- work -------------------------------------------------------------------------------------------------------- */

/* True if the host has returned success. Else it sets the outcome's kind. */
static bool proceed(struct outcome *o, int rc) {
    if (rc == 0)
        return true;
    o->kind = rc == HOST_CANCELLED ? WIRE_CANCELLED : rc == HOST_LOST ? WIRE_LOST : WIRE_FAILED;
    return false;
}

/* The time since the step before. */
static uint64_t lap(void) {
    int64_t now_ns = clock_monotonic_ns(), began_ns = self.lap_ns;
    self.lap_ns = now_ns;
    return (uint64_t)(now_ns - began_ns);
}

static void run_step(struct outcome *o, const struct wire_header *h, struct bytes common, struct bytes chunk,
                     struct buf *part) {
    bool map = (h->flags & WIRE_ITEMS) != 0;
    hooks.output = &o->output;
    if (proceed(o, (map ? host_run_items : host_run)(h->type, h->attempt, common, chunk, &hooks, part, &o->fault)))
        o->kind = WIRE_DONE;
    o->times.run_ns = lap();
}

static void merge_step(struct outcome *o, const struct wire_header *h, struct bytes common, const struct bytes *parts,
                       size_t count) {
    bool map = (h->flags & WIRE_ITEMS) != 0;
    hooks.output = &o->output;
    if (proceed(o, (map ? host_merge_items : host_merge)(h->type, common, parts, count, &hooks, &o->body, &o->fault))) {
        o->kind = WIRE_DONE;
        take_shared(&o->output);
    }
    o->times.merge_ns = lap();
}

/* Merges the only part of a job, which is in `part`, or in a memfd of the outcome. */
static void merge_one(struct outcome *o, const struct wire_header *h, struct bytes common, const struct buf *part) {
    struct host_output in = o->output;
    struct bytes one = {part->data == NULL ? "" : part->data, part->size};
    struct slice memfd = {NULL, 0, 0};
    if (in.has_fd) {
        struct blob *b = blob_adopt(in.fd, (size_t)(in.offset + in.size));
        if (b == NULL)
            worker_die();
        memfd = (struct slice){b, (size_t)in.offset, (size_t)in.size};
        one = (struct bytes){slice_map(&memfd), memfd.size};
        if (one.data == NULL)
            worker_die();
        o->output.has_fd = false;
    }
    merge_step(o, h, common, &one, 1);
    if (o->kind == WIRE_DONE && o->output.source == HOST_SOURCE_PART)
        take_part(&o->output, &memfd, part);
    if (o->kind == WIRE_DONE)
        take_made(&o->output);
    if (memfd.blob != NULL)
        slice_unmap(&memfd, one.data);
    slice_deinit(&memfd);
}

/* Runs the only chunk of a job, and merges its part. */
static void run_and_merge(struct outcome *o, const struct wire_header *h, struct bytes common, struct bytes chunk) {
    struct buf part = {0};
    run_step(o, h, common, chunk, &part);
    if (o->kind == WIRE_DONE && part.failed)
        worker_die();
    if (o->kind == WIRE_DONE)
        merge_one(o, h, common, &part);
    buf_deinit(&part);
}

static void put_padded(struct buf *to, const void *from, size_t size) {
    static const char zeros[8];
    buf_append(to, from, size);
    buf_append(to, zeros, WIRE_PAD(size) - size);
}

/* Writes a plan as wire.h describes it, but for the bytes at its end. submission: NULL if there is none. */
static void write_plan(struct buf *out, uint32_t type, const struct buf *submission, const struct host_plan *plan,
                       uint64_t plan_ns) {
    struct wire_plan head = {.type = type,
                             .chunks = (uint32_t)plan->count,
                             .common_size = (uint32_t)plan->common.size,
                             .submission_size = submission == NULL ? 0 : (uint32_t)submission->size,
                             .plan_ns = plan_ns};
    buf_append(out, &head, sizeof head);
    for (size_t i = 0; i < plan->count; i++) {
        const struct host_plan_chunk *from = &plan->chunks[i];
        struct wire_chunk c = {from->cost_ns, from->offset, from->size, from->attachment_first, from->attachment_count};
        buf_append(out, &c, sizeof c);
    }
    put_padded(out, plan->common.data, plan->common.size);
    if (submission != NULL)
        put_padded(out, submission->data, submission->size);
}

static void move(struct buf *to, struct buf *from) {
    *to = *from;
    *from = (struct buf){0};
}

static void set_title(uint32_t type) {
    const struct handler *h = host_handler(type);
    if (h == NULL || type + 1 == self.titled)
        return;
    setproctitle("worker %u %s", self.slot, h->name);
    self.titled = type + 1;
}

/* Plans checked params, or a map's list of them. With WIRE_GO it goes on to run and merge a single cheap chunk.
 * submission: what was found in a raw body, which is sent with the plan; else NULL. */
static void plan_params(struct outcome *o, struct wire_header h, struct bytes params, const struct buf *submission) {
    struct host_plan plan = {0};
    bool map = (h.flags & WIRE_ITEMS) != 0;
    set_title(h.type);
    lap(); /* what came before is the check of a raw body */
    hooks.output = &o->output;
    if (o->output.made_count == 0)
        o->output.made_first = (uint32_t)self.attached_count;
    else
        show_attachments(&o->output); /* the check of a raw body has made some */
    int rc = (map ? host_plan_items : host_plan)(h.type, params.data, params.size, h.count, &hooks, &plan, &o->fault);
    bool planned = proceed(o, rc);
    o->times.plan_ns = lap();
    if (planned && (h.flags & WIRE_GO) != 0 && plan.count == 1 && plan.chunks[0].cost_ns <= h.budget_ns) {
        struct bytes common = {plan.common.data == NULL ? "" : plan.common.data, plan.common.size};
        struct bytes chunk = {plan.bytes.data == NULL ? "" : plan.bytes.data + plan.chunks[0].offset,
                              plan.chunks[0].size};
        h.attempt = 0;
        show_attachments(&o->output);
        if (plan.chunks[0].cost_ns >= TINY_NS) {
            replies_flush();
            lap();
        }
        run_and_merge(o, &h, common, chunk);
    } else if (planned) {
        o->kind = WIRE_PLANNED;
        write_plan(&o->body, h.type, submission, &plan, o->times.plan_ns);
        move(&o->rest, &plan.bytes);
    }
    host_plan_deinit(&plan);
}

/* A map does not work in place. The front end did not know that it was one; it will know by the time of the runs. */
static void disown_attachments(const struct host_output *made) {
    for (size_t i = 0; i < self.attached_count; i++)
        self.attached[i].own = false;
    show_attachments(made);
}

/* Parses a raw body, and plans the job, unless an isolated worker must do that. */
static void plan_body(struct outcome *o, const struct wire_header *h, struct bytes body) {
    struct host_parsed p;
    unsigned depth = h->count > MAX_JSON_DEPTH_LIMIT ? MAX_JSON_DEPTH_LIMIT : h->count;
    hooks.output = &o->output;
    o->output.made_first = (uint32_t)self.attached_count;
    int rc = (h->flags & WIRE_PARAMS) != 0
                 ? host_parse_raw_params(h->type, body, depth, &hooks, &p, &o->fault)
                 : host_parse_raw(body, depth, (h->flags & WIRE_HASH) != 0, &hooks, &p, &o->fault);
    release_bulk(); /* the plan takes as much memory again */
    if (!proceed(o, rc)) {
        host_parsed_deinit(&p);
        return;
    }
    if (p.isolated) {
        o->kind = WIRE_PARSED;
        write_plan(&o->body, p.type, &p.submission, &(struct host_plan){0}, 0);
        move(&o->rest, &p.params);
    } else {
        struct wire_header checked = *h;
        checked.flags = p.map ? WIRE_ITEMS : 0;
        checked.type = p.type;
        checked.count = p.wanted_chunks;
        if (p.map)
            disown_attachments(&o->output);
        plan_params(o, checked, (struct bytes){p.params.data, p.params.size}, &p.submission);
    }
    host_parsed_deinit(&p);
}

/* Splits "u32 n, n bytes of common, padded" off the front of an inline payload. */
static bool split_common(struct bytes *payload, struct bytes *common) {
    uint32_t n;
    const unsigned char *from = payload->data;
    if (payload->size < 8)
        return false;
    memcpy(&n, from, sizeof n);
    if (n > HANDLER_MAX_COMMON || WIRE_PAD(n) > payload->size - 8)
        return false;
    *common = (struct bytes){from + 8, n};
    *payload = (struct bytes){from + 8 + WIRE_PAD(n), payload->size - 8 - WIRE_PAD(n)};
    return true;
}

static bool are_ranges(struct bytes bytes) {
    const struct host_range *r = bytes.data;
    for (size_t i = 0; i < bytes.size / sizeof *r; i++)
        if (memchr(r[i].name, '\0', sizeof r[i].name) == NULL)
            return false;
    return true;
}

/* The same, after the client's Accept has had its say. */
static void plan_raw(struct outcome *o, const struct wire_header *h, struct bytes payload, const struct bytes *bulk) {
    struct bytes accepts = {NULL, 0}, body;
    struct buf chosen = {0};
    if ((h->flags & WIRE_ACCEPTS) != 0 && (!split_common(&payload, &accepts) || !are_ranges(accepts)))
        worker_die();
    body = bulk != NULL ? *bulk : payload;
    if (accepts.size > 0)
        host_choose_result(body.data, body.size, accepts.data, accepts.size / sizeof(struct host_range), &chosen);
    if (chosen.failed)
        worker_die();
    if (chosen.size > 0) {
        release_bulk();
        body = (struct bytes){chosen.data, chosen.size};
    }
    plan_body(o, h, body);
    buf_deinit(&chosen);
}

static void do_run(struct outcome *o, const struct wire_header *h, struct bytes payload, const struct bytes *bulk) {
    struct bytes common;
    if (!split_common(&payload, &common))
        worker_die();
    struct bytes chunk = bulk != NULL ? *bulk : payload;
    set_title(h->type);
    if ((h->flags & WIRE_GO) != 0)
        run_and_merge(o, h, common, chunk);
    else
        run_step(o, h, common, chunk, &o->body);
}

/* ---- merges: gather the parts, then work ------------------------------------------------------------------------- */

static void drop_merge(void) {
    for (size_t i = 0; i < self.merge.have; i++)
        slice_deinit(&self.merge.parts[i]);
    free(self.merge.parts);
    slice_deinit(&self.merge.common);
    self.merge = (struct begun_merge){0};
}

static void begin_merge(const struct wire_header *h, struct bytes payload) {
    struct bytes common;
    if (self.merge.header.kind != 0 || h->count == 0 || h->count > HANDLER_MAX_CHUNKS ||
        !split_common(&payload, &common))
        worker_die();
    begin_attachments(h);
    self.merge.common = slice_copy(common.data, common.size);
    self.merge.parts = calloc(h->count, sizeof *self.merge.parts);
    if (self.merge.common.blob == NULL || self.merge.parts == NULL)
        worker_die();
    self.merge.header = *h;
}

static void do_merge(struct outcome *o) {
    struct begun_merge *m = &self.merge;
    struct bytes *parts = calloc(m->have, sizeof *parts);
    if (parts == NULL)
        worker_die();
    for (size_t i = 0; i < m->have; i++) {
        parts[i] = (struct bytes){slice_map(&m->parts[i]), m->parts[i].size};
        if (parts[i].data == NULL)
            worker_die();
    }
    set_title(m->header.type);
    merge_step(o, &m->header, (struct bytes){slice_map(&m->common), m->common.size}, parts, m->have);
    for (size_t i = 0; i < m->have; i++)
        slice_unmap(&m->parts[i], parts[i].data);
    free(parts);
    drop_merge();
}

/* Adds a part to the merge. True: it was the last one. */
static bool add_part(const struct wire_header *h, struct bytes payload, struct slice *bulk) {
    struct begun_merge *m = &self.merge;
    if (m->header.kind == 0 || h->ticket != m->header.ticket)
        worker_die();
    if (bulk->blob == NULL)
        *bulk = slice_copy(payload.data, payload.size);
    if (bulk->blob == NULL)
        worker_die();
    m->parts[m->have++] = slice_ref(bulk);
    return m->have == m->header.count;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static size_t merge_bytes(void) {
    size_t bytes = 0;
    for (size_t i = 0; i < self.merge.have; i++)
        bytes += self.merge.parts[i].size;
    return bytes;
}

/* False: it can take so long that the replies before it must leave first. */
static bool is_tiny(const struct wire_header *h, struct bytes payload, const struct bytes *bulk) {
    if (h->kind == WIRE_PART)
        return merge_bytes() <= TINY_BYTES;
    if (h->kind == WIRE_RUN)
        return h->budget_ns < TINY_NS;
    return bulk == NULL && payload.size <= TINY_BYTES && (h->flags & (WIRE_RAW | WIRE_ITEMS)) == 0 &&
           h->attachments == 0;
}

/* The work is done, and its reply is in the datagram. The front end must see that this ticket is passed before it sees
 * that we work on nothing. */
static void pass(uint64_t ticket) {
    self.ticket = 0;
    if (ticket != 0)
        atomic_store(&self.board->passed, ticket);
    atomic_store(&self.board->current, 0);
}

static int64_t deadline_ns(const struct wire_header *h) {
    return h->deadline_ms > 0 && h->deadline_ms < INT64_MAX / NS_PER_MS ? h->deadline_ms * NS_PER_MS : 0;
}

/* Does one task, and puts its reply into the datagram. bulk: the bulk payload, mapped; NULL: there is none. */
static void work(const struct wire_header *h, struct bytes payload, const struct bytes *bulk) {
    struct outcome o = {0};
    if (h->kind != WIRE_PART)
        begin_attachments(h);
    show_attachments(NULL);
    replies_begin(is_tiny(h, payload, bulk));
    int64_t start_ns = clock_monotonic_ns();
    self.lap_ns = start_ns;
    self.ticket = h->ticket;
    hooks.deadline_ns = deadline_ns(h->kind == WIRE_PART ? &self.merge.header : h);
    show_progress(NULL, 0, 0);
    atomic_store(&self.board->current, h->ticket);
    /* The front end sets `cancelled` before it reads `current`, so one of the two ends sees the other. */
    if (atomic_load(&self.board->cancelled[h->ticket % WIRE_MAX_IN_FLIGHT]) == h->ticket)
        o.kind = WIRE_CANCELLED;
    else if (h->kind == WIRE_PLAN && (h->flags & WIRE_RAW) != 0)
        plan_raw(&o, h, payload, bulk);
    else if (h->kind == WIRE_PLAN)
        plan_params(&o, *h, bulk != NULL ? *bulk : payload, NULL);
    else if (h->kind == WIRE_RUN)
        do_run(&o, h, payload, bulk);
    else
        do_merge(&o);
    if (h->kind == WIRE_PART && o.kind == WIRE_CANCELLED)
        drop_merge();
    int64_t end_ns = clock_monotonic_ns();
    size_t large = replies_add(h->ticket, &o, end_ns - start_ns);
    drop_attachments();
    hooks.output = NULL;
    note_bulk(large);
    pass(h->ticket);
    replies_flush_due(end_ns, large > 0);
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

/* Looks at the next frame. False: there is none in this datagram and, with `more`, none has come after it. */
static bool look_ahead(bool more) {
    struct pollfd next = {.fd = self.socket, .events = POLLIN};
    while (!self.has_ahead) {
        int got = self.reading ? wire_next(&self.reader, &self.ahead) : 0;
        if (got < 0)
            worker_die();
        self.has_ahead = got == 1;
        if (got == 1)
            return true;
        if (self.reading)
            wire_close_reader(&self.reader);
        self.reading = false;
        if (!more)
            return false;
        replies_flush(); /* whoever takes a batch is about to wait for work, or to work for long */
        if (poll(&next, 1, 0) != 1)
            return false;
        int received = wire_receive(self.socket, self.buffer, &self.reader);
        if (received == 0)
            _exit(0);
        if (received < 0)
            worker_die();
        self.reading = true;
        replies_tasks_arrived();
    }
    return true;
}

/* Can this task be one of a batch? It is short: it costs at most what the front end lets a plan go on with; or its type
 * is joined. */
static bool can_batch(const struct wire_header *h) {
    if ((h->flags & (WIRE_RAW | WIRE_ITEMS | WIRE_BULK)) != 0 || h->attachments > 0 || !host_can_batch(h->type))
        return false;
    return (h->kind == WIRE_PLAN && (h->flags & WIRE_GO) != 0) ||
           (h->kind == WIRE_RUN && (h->budget_ns <= SHORT_NS || host_joins(h->type)));
}

static struct batched *batched_at(unsigned i) {
    return &self.batch[(self.batch_front + i) % BATCH_MAX];
}

/* The front end sees what the task at the front does. */
static void show_front(void) {
    const struct batched *front = self.batch_count == 0 ? NULL : batched_at(0);
    self.ticket = front == NULL ? 0 : front->header.ticket;
    if (front == NULL)
        return;
    show_progress(NULL, 0, 0);
    atomic_store(&self.board->current, self.ticket);
}

/* Replies to the tasks that are done, from the front on. */
static void reply_to_batched(void) {
    size_t large = 0;
    while (self.batch_count > 0 && batched_at(0)->done) {
        struct batched *b = batched_at(0);
        large |= replies_add(b->header.ticket, &b->outcome, b->wall_ns);
        pass(b->header.ticket);
        host_plan_deinit(&b->plan);
        buf_deinit(&b->copy);
        self.batch_front = (self.batch_front + 1) % BATCH_MAX;
        self.batch_count--;
        show_front();
    }
    note_bulk(large);
    replies_flush_due(clock_monotonic_ns(), large > 0);
}

/* Plans a task of a batch. True: it is to be run with the others. */
static bool plan_batched(struct batched *b, struct bytes params, struct host_batch_call *call) {
    const struct wire_header *h = &b->header;
    int rc = host_plan(h->type, params.data, params.size, h->count, &b->hooks, &b->plan, &b->outcome.fault);
    b->outcome.times.plan_ns = lap();
    if (!proceed(&b->outcome, rc))
        return false;
    const struct host_plan *plan = &b->plan;
    if (plan->count == 1 && plan->chunks[0].cost_ns <= h->budget_ns && b->outcome.output.made_count == 0) {
        call->common = (struct bytes){plan->common.data == NULL ? "" : plan->common.data, plan->common.size};
        call->chunk = (struct bytes){plan->bytes.data == NULL ? "" : plan->bytes.data + plan->chunks[0].offset,
                                     plan->chunks[0].size};
        return true;
    }
    b->outcome.kind = WIRE_PLANNED;
    write_plan(&b->outcome.body, h->type, NULL, plan, b->outcome.times.plan_ns);
    move(&b->outcome.rest, &b->plan.bytes);
    return false;
}

static bool copy_run(struct batched *b, struct bytes payload, struct host_batch_call *call) {
    struct bytes common;
    buf_append(&b->copy, payload.data, payload.size);
    if (b->copy.failed)
        worker_die();
    payload.data = b->copy.data == NULL ? "" : b->copy.data;
    if (!split_common(&payload, &common))
        worker_die();
    call->common = common;
    call->chunk = payload;
    call->attempt = b->header.attempt;
    return true;
}

/* Begins the next task, if it is one of this batch. */
static bool next_batched(void *arg, struct host_batch_call *call) {
    uint32_t type = *(const uint32_t *)arg;
    bool runs = false;
    while (!runs && self.batch_count < BATCH_MAX && look_ahead(true) && can_batch(&self.ahead.header) &&
           host_joins_with(self.ahead.header.type, type)) {
        struct batched *b = batched_at(self.batch_count);
        struct bytes payload = {self.ahead.inlined, self.ahead.header.length};
        *b = (struct batched){.header = self.ahead.header, .hooks = hooks};
        b->hooks.arg = &b->header.ticket;
        b->hooks.deadline_ns = deadline_ns(&b->header);
        b->hooks.output = &b->outcome.output;
        self.has_ahead = false;
        if (self.batch_count++ == 0) {
            self.batch_lap_ns = clock_monotonic_ns();
            show_front();
        }
        lap();
        int64_t began_ns = self.lap_ns;
        if (atomic_load(&self.board->cancelled[b->header.ticket % WIRE_MAX_IN_FLIGHT]) == b->header.ticket)
            b->outcome.kind = WIRE_CANCELLED;
        else
            runs = b->header.kind == WIRE_PLAN ? plan_batched(b, payload, call) : copy_run(b, payload, call);
        b->wall_ns = clock_monotonic_ns() - began_ns;
        b->done = !runs;
        b->common = call->common;
        call->handler = host_handler(b->header.type);
        call->owner = b;
        call->hooks = &b->hooks;
        if (b->done)
            reply_to_batched();
    }
    return runs;
}

static void end_batched(void *arg, void *owner, int rc, struct buf *part, struct fault *fault) {
    struct batched *b = owner;
    struct outcome *o = &b->outcome;
    (void)arg;
    self.lap_ns = self.batch_lap_ns;
    o->times.run_ns = lap();
    if (rc != 0) {
        o->fault = *fault;
        *fault = (struct fault){0};
    }
    if (proceed(o, rc)) {
        o->kind = WIRE_DONE;
        if (part->failed)
            worker_die();
        if ((b->header.flags & WIRE_GO) != 0)
            merge_one(o, &b->header, b->common, part);
        else
            move(&o->body, part);
    }
    self.batch_lap_ns = self.lap_ns;
    b->wall_ns += (int64_t)(o->times.run_ns + o->times.merge_ns);
    b->done = true;
    reply_to_batched();
}

/* Does this task, and those that come after it as long as they go with it. */
static void work_in_batch(uint32_t type) {
    const struct host_batch feed = {.arg = &type, .next = next_batched, .done = end_batched};
    if (self.batch == NULL)
        self.batch = calloc(BATCH_MAX, sizeof *self.batch);
    if (self.batch == NULL)
        worker_die();
    replies_begin(true);
    set_title(type);
    host_run_batch(type, &feed);
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

static void handle_frame(const struct wire_frame *f, struct slice *bulk) {
    const struct wire_header *h = &f->header;
    struct bytes payload = {f->inlined, h->length}, mapped = {NULL, 0};
    switch (h->kind) {
    case WIRE_PLAN:
    case WIRE_RUN:
        if (bulk->blob != NULL) {
            self.bulk = bulk;
            self.mapped = slice_map(bulk);
            note_bulk(bulk->size);
            mapped = (struct bytes){self.mapped, bulk->size};
            if (mapped.data == NULL)
                worker_die();
        }
        work(h, payload, bulk->blob != NULL ? &mapped : NULL);
        release_bulk();
        break;
    case WIRE_ATTACHMENT: add_attachment(h, payload, bulk); break;
    case WIRE_MERGE: begin_merge(h, payload); break;
    case WIRE_PART:
        if (add_part(h, payload, bulk))
            work(h, payload, NULL);
        break;
    case WIRE_PING:
        replies_sign(h->ticket, WIRE_PONG);
        pass(h->ticket);
        break;
    case WIRE_EXIT: replies_flush(); _exit(0);
    default: worker_die();
    }
}

/* The allocator keeps what was freed: after a large task that can be most of the memory. It takes some time to give it
 * back, and more to get it again, so a worker with more work at once keeps what is not much. */
static void give_memory_back(void) {
    struct pollfd next = {.fd = self.socket, .events = POLLIN};
    if (self.largest_bulk == 0 || (self.largest_bulk < MAPPED_FROM && poll(&next, 1, IDLE_MS) != 0))
        return;
    malloc_trim(0);
    self.largest_bulk = 0;
}

/* Handles the frames of the datagram that was received, and of those that batches take after it. */
static void handle_datagram(void) {
    self.reading = true;
    replies_tasks_arrived();
    while (look_ahead(false)) {
        struct wire_frame f = self.ahead;
        struct slice bulk = {NULL, 0, 0};
        if (can_batch(&f.header)) {
            work_in_batch(f.header.type);
            continue;
        }
        self.has_ahead = false;
        if ((f.header.flags & WIRE_BULK) != 0 && wire_take_bulk(&self.reader, &f, &bulk) != 0)
            worker_die();
        handle_frame(&f, &bulk);
        slice_deinit(&bulk);
    }
    replies_flush();
}

_Noreturn void worker_main(unsigned slot, int socket, int scoreboard_fd, int supply) {
    struct sigaction term = {.sa_handler = on_sigterm, .sa_flags = SA_RESTART};
    self.slot = slot;
    self.socket = socket;
    self.board = scoreboard_map(scoreboard_fd, slot);
    close(scoreboard_fd);
    self.buffer = aligned_alloc(64, WIRE_MAX_DATAGRAM);
    if (self.board == NULL || self.buffer == NULL)
        worker_die();
    host_count_into(self.board->counts);
    replies_open(socket, self.board);
    supply_open(supply, self.board);
    mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
    mallopt(M_TRIM_THRESHOLD, 2 * MAPPED_FROM);
    sigaction(SIGTERM, &term, NULL);
    setproctitle("worker %u", slot);
    replies_sign(0, WIRE_READY);
    replies_flush();
    for (;;) {
        int got = wire_receive(socket, self.buffer, &self.reader);
        if (got == 0)
            _exit(0);
        if (got < 0)
            worker_die();
        handle_datagram();
        give_memory_back();
    }
}

/* Gives all types their numbers, and opens the plugin that has the type. */
static int open_plugin(const struct worker_start *s, int fds[2], struct buf *error) {
    static struct arena memory; /* as long as the process */
    struct pool_sources sources = {0};
    int rc = fds[0] < 0 ? 0 : sources_read(fds[0], &sources, &memory);
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (rc == 0 && s->plugin < sources.plugin_count)
        rc = plugin_load(sources.plugins[s->plugin], error);
    return rc;
}

int worker_spawned_main(void) {
    struct worker_start s;
    struct buf error = {0};
    int fds[2];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (wire_receive_control(WORKER_SOCKET_FD, &s, sizeof s, fds) != 1 || s.version != WIRE_VERSION ||
        getppid() != s.parent)
        return 1;
    fcntl(WORKER_SOCKET_FD, F_SETFD, FD_CLOEXEC);
    fcntl(WORKER_SCOREBOARD_FD, F_SETFD, FD_CLOEXEC);
    log_threshold = s.log_level;
    log_style = s.log_format;
    host_init(s.test_types != 0);
    setproctitle("worker %u", s.slot);
    if (open_plugin(&s, fds, &error) != 0 || host_load_type(s.type) != 0) {
        const char *name = host_name(s.type);
        fprintf(stderr, "the handler \"%s\" could not be loaded%s%s\n", name == NULL ? "?" : name,
                error.size > 0 ? ": " : "", error.size > 0 ? error.data : "");
        return 1;
    }
    worker_main(s.slot, WORKER_SOCKET_FD, WORKER_SCOREBOARD_FD, -1);
}
