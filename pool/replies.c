/* replies.c: see replies.h. Worker. */
#include "pool/replies.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "handlers/program/programs.h"

#define FLUSH_NS (1 * NS_PER_MS) /* from the arrival of a datagram */

/* The replies of the datagram whose CPU time is still to be filled in. The clock of the CPU is a system call, and a
 * tiny task takes no longer than two of them. So it is read once for all these tasks, and what they took together is
 * shared out in proportion to their wall time. */
struct unsettled {
    size_t at[WIRE_MAX_FRAMES]; /* where in the datagram the CPU time is; 0: a reply without it */
    int64_t wall_ns[WIRE_MAX_FRAMES];
    unsigned count;
    int64_t since_ns; /* the clock of the CPU when they began */
};

static struct {
    int socket;
    const struct scoreboard_slot *board;
    struct wire_writer writer;
    struct wire_writer log; /* WIRE_LOG alone; they never wait for a reply */
    bool gathers_log;       /* they leave with the replies; else at once */
    struct unsettled unsettled;
    int64_t arrived_ns; /* the datagram of the tasks */
} leaving;

_Noreturn void worker_die(void) {
    _exit(70);
}

void replies_open(int socket, const struct scoreboard_slot *board) {
    leaving.socket = socket;
    leaving.board = board;
    if (wire_open_writer(&leaving.writer) != 0)
        worker_die();
}

void replies_tasks_arrived(void) {
    leaving.arrived_ns = clock_monotonic_ns();
}

/* ---- logs -------------------------------------------------------------------------------------------------------- */

static void flush_log(void) {
    if (leaving.log.frames > 0 && wire_flush(&leaving.log, leaving.socket) != 0)
        worker_die();
}

/* Where a text that is too long for one frame is cut: before a character (UTF-8), if there are any. */
static size_t first_piece(const char *text, size_t size) {
    size_t n = size < WIRE_MAX_LOG ? size : WIRE_MAX_LOG;
    while (n < size && n > WIRE_MAX_LOG - 4 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    return n;
}

/* The frames have a datagram of their own, so that they can leave at once, and the replies and their CPU times do not
 * notice. A task that is tiny sends them with its reply. */
void replies_log(uint64_t ticket, const char *text, size_t size) {
    struct wire_header h = {.kind = WIRE_LOG, .ticket = ticket};
    if (leaving.log.data == NULL && wire_open_writer(&leaving.log) != 0)
        worker_die();
    while (size > 0) {
        size_t n = first_piece(text, size);
        if (!wire_fits(&leaving.log, n, false))
            flush_log();
        if (wire_put(&leaving.log, &h, text, n, NULL, 0, NULL) != 0)
            worker_die();
        text += n;
        size -= n;
    }
    if (!leaving.gathers_log || clock_monotonic_ns() - leaving.arrived_ns > FLUSH_NS)
        flush_log();
}

/* ---- the time of the CPU ----------------------------------------------------------------------------------------- */

/* Of this process, and of those that work for it. It can fall when one of these ends. */
static int64_t cpu_ns(void) {
    return clock_cpu_ns() + programs_cpu_ns();
}

/* Fills in the CPU time of all tasks that are unsettled. One more has taken wall_ns, and its reply is not in the
 * datagram yet; 0: there is none. Returns its CPU time. */
static uint64_t settle(int64_t wall_ns) {
    struct unsettled *u = &leaving.unsettled;
    int64_t now_ns = cpu_ns(), all_ns = wall_ns;
    for (unsigned i = 0; i < u->count; i++)
        all_ns += u->wall_ns[i];
    double share = all_ns == 0 || now_ns < u->since_ns ? 0 : (double)(now_ns - u->since_ns) / (double)all_ns;
    for (unsigned i = 0; i < u->count; i++) {
        uint64_t of_task_ns = (uint64_t)((double)u->wall_ns[i] * share);
        if (u->at[i] > 0)
            memcpy(leaving.writer.data + u->at[i], &of_task_ns, sizeof of_task_ns);
    }
    u->count = 0;
    u->since_ns = now_ns;
    return (uint64_t)((double)wall_ns * share);
}

void replies_flush(void) {
    flush_log(); /* before the replies to their tasks */
    if (leaving.unsettled.count > 0)
        settle(0);
    if (leaving.writer.frames > 0 && wire_flush(&leaving.writer, leaving.socket) != 0)
        worker_die();
}

/* ---- replies ----------------------------------------------------------------------------------------------------- */

/* A sealed memfd with the bytes of both buffers. */
static struct blob *seal_reply(const struct buf *body, const struct buf *rest) {
    int fd = memfd_new("offload-part");
    if (fd < 0)
        return NULL;
    if (memfd_write(fd, body->data, body->size) == 0 && memfd_write(fd, rest->data, rest->size) == 0)
        return blob_seal(fd, body->size + rest->size);
    close(fd);
    return NULL;
}

/* Puts a reply into the datagram, which has room: `head`, the body, and `rest` behind it. bulk: as a memfd. */
static void put_reply(uint64_t ticket, uint8_t kind, uint32_t made, const void *head, size_t head_size,
                      struct buf *body, const struct buf *rest, bool bulk) {
    struct wire_header h = {.kind = kind, .ticket = ticket, .attachments = made};
    struct slice s = {NULL, 0, 0};
    if (!bulk && rest->size > 0)
        buf_append(body, rest->data, rest->size);
    if (body->failed)
        worker_die();
    if (bulk) {
        struct blob *b = seal_reply(body, rest);
        if (b == NULL)
            worker_die();
        s = slice_all(b);
    }
    if (wire_put(&leaving.writer, &h, head, head_size, bulk ? NULL : body->data, bulk ? 0 : body->size,
                 bulk ? &s : NULL) != 0)
        worker_die();
    slice_deinit(&s);
}

/* The piece of a memfd that the handler has made. It is sealed against every change from now on; a memfd of a program
 * is sealed already, or it is refused. Takes the descriptor. Empty: it cannot be sealed. */
static struct slice seal_output(struct host_output *o) {
    struct slice s = {NULL, 0, 0};
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    struct stat st;
    int has = fcntl(o->fd, F_GET_SEALS);
    if (has >= 0 && (has & seals) != seals && fcntl(o->fd, F_ADD_SEALS, seals | F_SEAL_SEAL) != 0)
        has = -1;
    bool whole = has >= 0 && fstat(o->fd, &st) == 0 && o->offset <= (uint64_t)st.st_size &&
                 o->size <= (uint64_t)st.st_size - o->offset;
    struct blob *b = whole ? blob_adopt(o->fd, (size_t)st.st_size) : NULL;
    if (b == NULL)
        close(o->fd);
    else
        s = (struct slice){b, (size_t)o->offset, (size_t)o->size};
    o->has_fd = false;
    return s;
}

static void put_made_memfd(uint64_t ticket, const struct host_made *made) {
    struct wire_header h = {.kind = WIRE_MADE, .flags = WIRE_OWN, .ticket = ticket};
    struct blob *b = blob_adopt(made->fd, (size_t)made->size);
    if (b == NULL)
        worker_die();
    struct slice s = slice_all(b);
    if (leaving.writer.frames > 0)
        replies_flush();
    if (wire_put(&leaving.writer, &h, NULL, 0, NULL, 0, &s) != 0)
        worker_die();
    replies_flush();
    slice_deinit(&s);
}

static void put_made_bytes(uint64_t ticket, struct host_made *made) {
    struct wire_header h = {.kind = WIRE_MADE, .ticket = ticket};
    if (!wire_fits(&leaving.writer, made->bytes.size, false))
        replies_flush();
    if (wire_put(&leaving.writer, &h, made->bytes.data, made->bytes.size, NULL, 0, NULL) != 0)
        worker_die();
    buf_deinit(&made->bytes);
}

/* The attachments that a plan has made. A memfd has a datagram of its own. */
static void put_made(uint64_t ticket, struct host_output *o) {
    for (uint32_t i = 0; i < o->made_count; i++) {
        if (o->made[i].fd >= 0)
            put_made_memfd(ticket, &o->made[i]);
        else
            put_made_bytes(ticket, &o->made[i]);
    }
    o->made_count = 0;
}

/* What stands in front of the bytes of a result that is not JSON, behind the times. */
static void put_binary_front(struct buf *front, const struct outcome *o, const struct slice *bulk) {
    static const char zeros[8];
    const struct host_output *out = &o->output;
    struct wire_binary b = {.source = out->source == HOST_SOURCE_PART         ? WIRE_FROM_PART
                                      : out->source == HOST_SOURCE_ATTACHMENT ? WIRE_FROM_ATTACHMENT
                                                                              : WIRE_FROM_BODY,
                            .index = out->index,
                            .offset = out->offset,
                            .size = out->size,
                            .media_size = (uint32_t)strlen(out->media_type),
                            .summary_size = o->body.size > WIRE_MAX_SUMMARY ? 0 : (uint32_t)o->body.size};
    if (b.source == WIRE_FROM_BODY) {
        b.offset = 0;
        b.size = bulk->blob != NULL ? bulk->size : out->bytes.size;
    }
    buf_append(front, &o->times, sizeof o->times);
    buf_append(front, &b, sizeof b);
    buf_append(front, out->media_type, b.media_size);
    buf_append(front, zeros, WIRE_PAD(b.media_size) - b.media_size);
    buf_append(front, o->body.data, b.summary_size);
    buf_append(front, zeros, WIRE_PAD(b.summary_size) - b.summary_size);
}

/* The reply to a task whose result is not JSON, or whose part lies in a memfd. It is never tiny. */
static size_t put_output(uint64_t ticket, struct outcome *o) {
    bool binary = o->output.source != HOST_SOURCE_JSON;
    struct wire_header h = {.kind = WIRE_DONE, .flags = binary ? WIRE_BINARY : 0, .ticket = ticket};
    struct slice bulk = {NULL, 0, 0};
    struct buf front = {0};
    if (o->output.has_fd)
        bulk = seal_output(&o->output);
    else if (o->output.bytes.size > WIRE_MAX_INLINE)
        bulk.blob = blob_copy_sealed("offload-result", o->output.bytes.data, bulk.size = o->output.bytes.size);
    if (bulk.blob == NULL && (!binary || o->output.bytes.size > WIRE_MAX_INLINE))
        worker_die();
    if (binary)
        put_binary_front(&front, o, &bulk);
    else
        buf_append(&front, &o->times, sizeof o->times);
    if (front.failed)
        worker_die();
    replies_flush();
    size_t rest = bulk.blob == NULL ? o->output.bytes.size : 0;
    if (wire_put(&leaving.writer, &h, front.data, front.size, o->output.bytes.data, rest,
                 bulk.blob == NULL ? NULL : &bulk) != 0)
        worker_die();
    buf_deinit(&front);
    size_t size = bulk.size;
    slice_deinit(&bulk);
    return size;
}

void replies_sign(uint64_t ticket, uint8_t kind) {
    static const struct buf nothing;
    struct buf empty = {0};
    if (!wire_fits(&leaving.writer, 0, false))
        replies_flush();
    put_reply(ticket, kind, 0, NULL, 0, &empty, &nothing, false);
}

/* Where the CPU time is in a reply, behind its header; 0: it has none. */
static size_t place_of_cpu_time(uint8_t kind) {
    return kind == WIRE_DONE                             ? offsetof(struct wire_times, cpu_ns)
           : kind == WIRE_PLANNED || kind == WIRE_PARSED ? offsetof(struct wire_plan, cpu_ns)
                                                         : 0;
}

static struct wire_loss loss_of(const struct host_loss *loss) {
    return (struct wire_loss){.cause = loss->cause,
                              .signal = loss->signal,
                              .exit_code = loss->exit_code,
                              .max_rss_bytes = loss->max_rss_bytes,
                              .cpu_ms = loss->cpu_ms,
                              .steps = atomic_load_explicit(&leaving.board->done, memory_order_relaxed)};
}

/* As a log, it has a datagram of its own. */
void replies_died(uint64_t ticket, const struct host_loss *how) {
    struct wire_header h = {.kind = WIRE_DIED, .ticket = ticket};
    struct wire_loss loss = loss_of(how);
    if (leaving.log.data == NULL && wire_open_writer(&leaving.log) != 0)
        worker_die();
    if (!wire_fits(&leaving.log, sizeof loss + how->last_words.size, false))
        flush_log();
    if (wire_put(&leaving.log, &h, &loss, sizeof loss, how->last_words.data, how->last_words.size, NULL) != 0)
        worker_die();
    flush_log();
}

static void deinit(struct outcome *o) {
    buf_deinit(&o->body);
    buf_deinit(&o->rest);
    fault_deinit(&o->fault);
    if (o->output.made != NULL || o->output.has_fd || o->output.bytes.data != NULL)
        host_output_deinit(&o->output);
}

size_t replies_add(uint64_t ticket, struct outcome *o, int64_t wall_ns) {
    struct unsettled *u = &leaving.unsettled;
    if (o->kind == WIRE_DONE && (o->output.has_fd || o->output.source != HOST_SOURCE_JSON)) {
        o->times.cpu_ns = settle(wall_ns);
        size_t large = put_output(ticket, o);
        deinit(o);
        return large;
    }
    uint32_t made = o->kind == WIRE_PLANNED || o->kind == WIRE_PARSED ? o->output.made_count : 0;
    if (made > 0)
        put_made(ticket, &o->output);
    struct wire_loss loss = loss_of(&o->fault.loss);
    const void *head = o->kind == WIRE_DONE ? (const void *)&o->times : o->kind == WIRE_LOST ? &loss : NULL;
    size_t head_size = o->kind == WIRE_DONE ? sizeof o->times : o->kind == WIRE_LOST ? sizeof loss : 0;
    size_t place = place_of_cpu_time(o->kind);
    struct buf *body = o->kind == WIRE_FAILED ? &o->fault.json
                       : o->kind == WIRE_LOST ? &o->fault.loss.last_words
                                              : &o->body;
    /* Only a task that was done has a body: what a handler wrote before it stopped is no part. */
    if (o->kind == WIRE_CANCELLED)
        buf_clear(body);
    if (o->kind != WIRE_PLANNED && o->kind != WIRE_PARSED)
        buf_clear(&o->rest);
    if (body->failed || o->rest.failed)
        worker_die(); /* out of memory: the report on our death is worth more than half an answer */
    size_t size = head_size + body->size + o->rest.size;
    bool bulk = size > WIRE_MAX_INLINE, fits = wire_fits(&leaving.writer, bulk ? head_size : size, bulk);
    bool settled = bulk || !fits;
    if (settled) {
        uint64_t of_task_ns = settle(wall_ns);
        if (place > 0)
            memcpy((o->kind == WIRE_DONE ? (char *)&o->times : body->data) + place, &of_task_ns, sizeof of_task_ns);
    }
    if (!fits)
        replies_flush();
    size_t start = leaving.writer.size + sizeof(struct wire_header);
    put_reply(ticket, o->kind, made, head, head_size, body, &o->rest, bulk);
    if (!settled) {
        u->at[u->count] = place == 0 ? 0 : start + place;
        u->wall_ns[u->count++] = wall_ns;
    }
    deinit(o);
    return bulk ? size : 0;
}

void replies_begin(bool tiny) {
    leaving.gathers_log = tiny;
    if (leaving.writer.frames > 0 && !tiny)
        replies_flush();
    if (leaving.unsettled.count == 0)
        leaving.unsettled.since_ns = cpu_ns();
}

void replies_flush_due(int64_t now_ns, bool large) {
    if (large || now_ns - leaving.arrived_ns > FLUSH_NS)
        replies_flush();
}
