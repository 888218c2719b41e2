/* wire.c: what the front end reads from workers and zygotes, in a front end whose other processes are played by the
 * input: the jobs, the pool and the memory store are the real ones.
 *
 *     input   a list of steps: a byte that says which (see `steps`), and what that step reads
 *
 * After each step the front end handles what has come. At the end everything is freed; no descriptor, no blob and no
 * job is left. zygote_start is the function below: the linker leaves the real one in the archive. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/held.h"
#include "base/container.h"
#include "base/log.h"
#include "pool/slot.h"
#include "pool/zygote_start.h"
#include "server/jobs/job.h"
#include "tests/fuzz/input.h"
#include "tests/unit/item_part.h"

enum {
    MAIN = 2,
    EXPRESS = 1,
    SLOTS = MAIN + EXPRESS,
    MAX_ZYGOTES = 4,
    MAX_CLIENTS = 8,
    MAX_STEPS = 200,
    FIRST_PID = 5000000 /* beyond what Linux gives to a process */
};

static struct loop *loop;
static struct jobs *jobs;
static struct pool *pool;
static struct metrics metrics;
static unsigned char datagram[WIRE_MAX_DATAGRAM];

/* The processes' ends of the sockets; -1: closed. */
static int zygotes[MAX_ZYGOTES];
static unsigned zygotes_started;
static struct fake_worker {
    bool wanted; /* a zygote was asked for it */
    int socket, stderr_fd;
    pid_t pid;
    struct wire_header asked[WIRE_MAX_IN_FLIGHT]; /* what it has to answer, the oldest first */
    unsigned count;
} workers[SLOTS];
static pid_t next_pid;

static struct client {
    struct job_waiter waiter;
    struct job *job; /* NULL: free, or it has ended */
    struct history *history;
    bool stored;
} clients[MAX_CLIENTS];

/* ---- the clients ------------------------------------------------------------------------------------------------- */

static void on_job_event(struct job_waiter *w, struct job *job, enum job_event event) {
    struct client *c = container_of(w, struct client, waiter);
    if (event == JOB_CHANGED && c->history != NULL && history_count(c->history) > 0)
        history_drop_part(c->history, 0);
    if (event != JOB_ENDED)
        return;
    MUST(c->job == job);
    struct buf document = {0};
    const struct record *r = job_record(job);
    MUST(job_is_rejected(job) || job_is_store_failed(job) || r->status > JOB_RUNNING);
    struct job_view view = job_look(NULL);
    render_job(&document, r, &view, true);
    buf_deinit(&document);
    c->job = NULL;
}

static void on_stored(void *arg, enum store_result result) {
    (void)arg, (void)result;
}

/* Submits one of a few jobs. */
static void submit(struct input *in) {
    static const char *const bodies[] = {
        "{\"type\":\"primes\",\"params\":{\"start\":0,\"stop\":100}}",
        "{\"type\":\"sum\",\"params\":{\"numbers\":[1,2,3]},\"options\":{\"chunks\":4}}",
        "{\"type\":\"echo\",\"items\":[{\"value\":1},{\"value\":2},{\"value\":3}],\"options\":{\"max_attempts\":1}}",
        "{\"type\":\"echo\",\"params\":{\"value\":1},\"options\":{\"isolation\":\"fresh\",\"max_attempts\":2}}",
        "{\"type\":\"burn\",\"params\":{\"cpu_ms\":100,\"chunks\":8}}",
        "{\"type\":\"echo\",\"items\":[],\"options\":{\"priority\":0}}",
    };
    uint8_t which = take_u8(in), how = take_u8(in);
    struct client *c = &clients[which / 8 % MAX_CLIENTS];
    const char *body = bodies[which % 8 % (sizeof bodies / sizeof *bodies)];
    struct submission s = {0};
    struct fault fault = {{0}};
    struct job *job;
    enum problem_code why;
    if (c->job != NULL)
        return;
    if (c->history != NULL)
        history_close(c->history);
    *c = (struct client){.waiter = {.notify = on_job_event, .wants_changes = (how & 1) != 0}};
    struct job_request q = {.default_priority = -1, .asynchronous = (how & 2) != 0, .wants_hash = (how & 4) != 0};
    MUST(submission_parse(body, strlen(body), 64, 0, &s, &fault) == 0);
    struct slice raw = slice_copy(body, strlen(body));
    if ((how & 8) != 0)
        q.body = raw;
    else
        q.submission = &s;
    if (jobs_submit(jobs, &q, &job, &why) == 0) {
        c->job = job;
        job_wait(job, &c->waiter);
        if ((how & 1) != 0)
            c->history = history_open(job);
        if ((how & 16) != 0 && (how & 8) == 0) {
            c->stored = true;
            job_make_durable(job, &raw, on_stored, NULL);
        }
    }
    slice_deinit(&raw);
    submission_deinit(&s);
}

static void cancel(struct input *in) {
    struct client *c = &clients[take_u8(in) % MAX_CLIENTS];
    if (c->job != NULL)
        job_cancel(c->job);
}

static void throttle(struct input *in) {
    struct client *c = &clients[take_u8(in) % MAX_CLIENTS];
    if (c->job == NULL)
        return;
    job_throttle(c->job);
    job_unthrottle(c->job);
}

/* ---- the zygotes ------------------------------------------------------------------------------------------------- */

int zygote_start(enum zygote_birth birth, int scoreboard_fd, const struct pool_config *config, pid_t *pid) {
    int fds[2];
    (void)birth, (void)scoreboard_fd, (void)config;
    if (zygotes_started == MAX_ZYGOTES ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) {
        errno = EAGAIN;
        return -1;
    }
    zygotes[zygotes_started++] = fds[1];
    *pid = next_pid++;
    return fds[0];
}

/* The zygote that a step is about: the last one, or an older one. */
static int a_zygote(struct input *in) {
    uint8_t back = take_u8(in);
    return zygotes_started == 0 ? -1 : zygotes[zygotes_started - 1 - back % zygotes_started];
}

static void say_report(int zygote, struct zygote_report r, const int fds[2]) {
    r.version = WIRE_VERSION;
    if (zygote >= 0 && wire_send_control(zygote, &r, sizeof r, fds) != 0)
        MUST(errno == EPIPE || errno == EAGAIN || errno == ECONNRESET);
}

static void say_loaded(struct input *in) {
    say_report(a_zygote(in), (struct zygote_report){.kind = ZYGOTE_LOADED}, NULL);
}

static void close_worker(struct fake_worker *w) {
    if (w->socket >= 0)
        close(w->socket);
    if (w->stderr_fd >= 0)
        close(w->stderr_fd);
    w->socket = w->stderr_fd = -1;
    w->count = 0;
}

/* The zygote has forked a worker for that slot, whether it was asked to or not. */
static void fork_worker(int zygote, unsigned slot) {
    struct fake_worker *w = &workers[slot % SLOTS];
    int sockets[2], pipes[2];
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) == 0);
    MUST(pipe2(pipes, O_CLOEXEC | O_NONBLOCK) == 0);
    close_worker(w);
    *w = (struct fake_worker){.socket = sockets[1], .stderr_fd = pipes[1], .pid = next_pid++};
    say_report(zygote, (struct zygote_report){.kind = ZYGOTE_SPAWNED, .slot = slot, .pid = w->pid},
               (int[]){sockets[0], pipes[0]});
    close(sockets[0]);
    close(pipes[0]);
}

static void say_spawned(struct input *in) {
    int zygote = a_zygote(in);
    fork_worker(zygote, take_u8(in));
}

static void say_exited(struct input *in) {
    int zygote = a_zygote(in);
    uint8_t slot = take_u8(in);
    struct fake_worker *w = &workers[slot % SLOTS];
    struct zygote_report r = {.kind = ZYGOTE_EXITED, .slot = slot, .pid = w->pid, .status = take_u16(in)};
    r.oom = take_u8(in);
    r.max_rss_bytes = take_number(in);
    r.cpu_ms = take_number(in);
    close_worker(w);
    say_report(zygote, r, NULL);
}

/* A report of the right size, all of whose fields are the input's. */
static void say_any_report(struct input *in) {
    struct zygote_report r = {.kind = take_u8(in), .slot = (uint32_t)take_number(in), .pid = (pid_t)take_number(in)};
    int zygote = a_zygote(in), pipes[2] = {-1, -1};
    r.status = (int32_t)take_number(in);
    struct input text = take_bytes(in, take_u8(in) % (sizeof r.text + 1));
    memcpy(r.text, text.data, text.size);
    bool with_fds = (take_u8(in) & 1) != 0;
    if (with_fds)
        MUST(pipe2(pipes, O_CLOEXEC) == 0);
    say_report(zygote, r, with_fds ? pipes : NULL);
    if (with_fds) {
        close(pipes[0]);
        close(pipes[1]);
    }
}

static void say_bytes_as_zygote(struct input *in) {
    int zygote = a_zygote(in);
    struct input bytes = take_bytes(in, take_u8(in));
    if (zygote >= 0 && bytes.size > 0 && send(zygote, bytes.data, bytes.size, MSG_NOSIGNAL) < 0)
        return;
}

static void end_zygote(struct input *in) {
    unsigned i = take_u8(in) % MAX_ZYGOTES;
    if (i < zygotes_started && zygotes[i] >= 0)
        close(zygotes[i]);
    zygotes[i] = -1;
}

/* Reads what the front end asked the zygotes for: it has to be right, whatever they have said. */
static void hear_requests(void) {
    struct zygote_request q;
    int fds[2];
    for (unsigned i = 0; i < zygotes_started; i++)
        while (zygotes[i] >= 0 && wire_receive_control(zygotes[i], &q, sizeof q, fds) == 1) {
            MUST(fds[0] == -1 && fds[1] == -1 && q.version == WIRE_VERSION);
            MUST((q.kind == ZYGOTE_SPAWN && q.slot < SLOTS) || (q.kind == ZYGOTE_SIGNAL && q.pid > 0));
            if (q.kind == ZYGOTE_SPAWN)
                workers[q.slot].wanted = true;
        }
}

/* ---- the workers ------------------------------------------------------------------------------------------------- */

static struct fake_worker *a_worker(struct input *in) {
    return &workers[take_u8(in) % SLOTS];
}

/* The same, but rather one that has something to answer. */
static struct fake_worker *a_busy_worker(struct input *in) {
    unsigned first = take_u8(in);
    for (unsigned i = 0; i < SLOTS; i++)
        if (workers[(first + i) % SLOTS].count > 0)
            return &workers[(first + i) % SLOTS];
    return &workers[first % SLOTS];
}

/* Reads what the front end has sent to the workers: it has to be right, whatever they have said. */
static void hear_tasks(void) {
    struct wire_reader r;
    struct wire_frame f;
    for (int i = 0; i < SLOTS; i++) {
        struct fake_worker *w = &workers[i];
        while (w->socket >= 0 && wire_receive(w->socket, datagram, &r) == 1) {
            int got;
            while ((got = wire_next(&r, &f)) == 1) {
                struct slice bulk = {NULL, 0, 0};
                MUST(wire_is_request(f.header.kind));
                MUST((f.header.flags & WIRE_BULK) == 0 || wire_take_bulk(&r, &f, &bulk) == 0);
                slice_deinit(&bulk);
                if (f.header.kind == WIRE_PART || f.header.kind == WIRE_EXIT)
                    continue;
                MUST(w->count < WIRE_MAX_IN_FLIGHT);
                w->asked[w->count++] = f.header;
            }
            MUST(got == 0);
            wire_close_reader(&r);
        }
    }
}

static struct wire_header next_asked(struct fake_worker *w) {
    struct wire_header h = w->asked[0];
    if (w->count == 0)
        return (struct wire_header){.ticket = 1};
    memmove(w->asked, w->asked + 1, --w->count * sizeof *w->asked);
    return h;
}

/* A memfd with these bytes. */
static int bulk_of(const struct buf *bytes, bool sealed) {
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    MUST(fd >= 0);
    if (bytes->size > 0)
        MUST(write(fd, bytes->data, bytes->size) == (ssize_t)bytes->size);
    if (sealed)
        MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    return fd;
}

/* Sends one frame, whose header is taken as it is but for its version and its length. bulk: NULL, or a payload beside
 * the inline bytes. */
static void say_frame(struct fake_worker *w, struct wire_header h, const struct buf *inlined, const struct buf *bulk,
                      bool sealed) {
    struct buf bytes = {0};
    int fd = bulk == NULL ? -1 : bulk_of(bulk, sealed);
    char control[CMSG_SPACE(sizeof fd)] = {0};
    h.version = WIRE_VERSION;
    h.length = (uint32_t)inlined->size;
    buf_append(&bytes, &h, sizeof h);
    buf_append(&bytes, inlined->data, inlined->size);
    buf_append(&bytes, "\0\0\0\0\0\0\0", WIRE_PAD(inlined->size) - inlined->size);
    struct iovec iov = {bytes.data, bytes.size};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    if (w->socket >= 0 && sendmsg(w->socket, &m, MSG_NOSIGNAL) < 0)
        close_worker(w);
    if (fd >= 0)
        close(fd);
    buf_deinit(&bytes);
}

static void say_plainly(struct fake_worker *w, struct wire_header h, const struct buf *inlined) {
    say_frame(w, h, inlined, NULL, false);
}

static void become_ready(struct input *in) {
    static const struct buf nothing;
    say_plainly(a_worker(in), (struct wire_header){.kind = WIRE_READY, .ticket = take_u8(in) & 1}, &nothing);
}

static void say_bytes(struct input *in) {
    struct fake_worker *w = a_worker(in);
    struct input bytes = take_bytes(in, take_u16(in) % 1024);
    if (w->socket >= 0 && bytes.size > 0 && send(w->socket, bytes.data, bytes.size, MSG_NOSIGNAL) < 0)
        close_worker(w);
}

/* Changes some bytes. */
static void spoil(struct input *in, struct buf *b) {
    for (uint8_t n = take_u8(in) % 8; n > 0 && b->size > 0; n--) {
        size_t at = take_u16(in) % b->size;
        b->data[at] = (char)take_u8(in);
    }
}

/* Any reply, with the input's bytes as payload. */
static void say_any_reply(struct input *in) {
    struct fake_worker *w = a_busy_worker(in);
    uint8_t how = take_u8(in);
    struct wire_header h = next_asked(w);
    struct buf bytes = {0}, bulk = {0};
    h = (struct wire_header){.kind = (how & 64) != 0 ? take_u8(in) : (uint8_t)(WIRE_READY + how % 8),
                             .ticket = h.ticket};
    if ((how & 8) != 0)
        h.ticket = take_number(in);
    struct input payload = take_bytes(in, take_u16(in) % 4096);
    buf_append(&bytes, payload.data, payload.size);
    if ((how & 16) != 0) {
        payload = take_bytes(in, take_u16(in) % 4096);
        buf_append(&bulk, payload.data, payload.size);
        h.flags = WIRE_BULK;
        h.bulk_offset = take_number(in);
        h.bulk_size = (how & 128) != 0 ? take_number(in) : bulk.size;
    }
    say_frame(w, h, &bytes, (how & 16) != 0 ? &bulk : NULL, (how & 32) != 0);
    buf_deinit(&bytes);
    buf_deinit(&bulk);
}

/* WIRE_DONE: times, and a part or a result. Of a map: entries of items. */
static void say_done_as(struct input *in, struct fake_worker *w) {
    struct wire_header h = next_asked(w);
    struct wire_times times = {take_number(in), take_number(in), take_number(in), take_number(in)};
    struct buf bytes = {0}, part = {0}, both = {0};
    uint8_t how = take_u8(in);
    buf_append(&bytes, &times, sizeof times);
    if ((h.flags & WIRE_ITEMS) != 0 && h.kind == WIRE_RUN) {
        for (unsigned n = how % 4 + 1u; n > 0; n--)
            part_add_item(&part, take_u8(in) % 4, true, "{\"status\":\"succeeded\"}");
    } else {
        struct input payload = take_bytes(in, take_u8(in));
        buf_append(&part, payload.data, payload.size);
    }
    if ((how & 16) != 0)
        spoil(in, &part);
    h = (struct wire_header){.kind = WIRE_DONE, .ticket = h.ticket};
    if ((how & 32) != 0) {
        h.flags = WIRE_BULK;
        h.bulk_size = part.size;
        say_frame(w, h, &bytes, &part, true);
    } else {
        buf_append(&both, bytes.data, bytes.size);
        buf_append(&both, part.data, part.size);
        say_plainly(w, h, &both);
    }
    buf_deinit(&bytes);
    buf_deinit(&part);
    buf_deinit(&both);
}

/* WIRE_PLANNED or WIRE_PARSED, as an honest worker makes it, and then spoilt a little. */
static void say_plan_as(struct input *in, struct fake_worker *w) {
    static const uint8_t hash[32] = {1, 2, 3};
    struct wire_header h = next_asked(w);
    uint8_t how = take_u8(in);
    bool raw = (h.flags & WIRE_RAW) != 0;
    struct submission found = {.type = (h.flags & WIRE_RAW) != 0 ? take_u8(in) % 4u : h.type};
    struct buf submission = {0}, bytes = {0};
    options_init(&found.options);
    found.map = raw && (how & 1) != 0;
    found.items = found.map ? take_u8(in) % 8u : 0;
    found.options.isolated = raw && (how & 2) != 0;
    if (raw && (how & 4) != 0)
        found.options.delay_ms = (int64_t)take_number(in);
    if (raw)
        host_write_submission(&found, hash, &submission);
    struct wire_plan head = {.type = found.type,
                             .chunks = (how & 8) != 0 ? 0 : take_u8(in) % 20u + 1,
                             .common_size = (how & 8) != 0 ? 0 : how / 32u,
                             .submission_size = (uint32_t)submission.size,
                             .plan_ns = take_number(in),
                             .cpu_ns = take_number(in)};
    buf_append(&bytes, &head, sizeof head);
    for (uint64_t i = 0; i < head.chunks; i++)
        buf_append(&bytes, &(struct wire_chunk){take_number(in), 8 * i, 8, 0, UINT32_MAX}, sizeof(struct wire_chunk));
    buf_append(&bytes, "common..", WIRE_PAD(head.common_size));
    buf_append(&bytes, submission.data, submission.size);
    for (uint64_t i = 0; i < head.chunks; i++)
        buf_append(&bytes, &i, sizeof i);
    spoil(in, &bytes);
    h = (struct wire_header){.kind = (how & 8) != 0 ? WIRE_PARSED : WIRE_PLANNED,
                             .ticket = h.ticket,
                             .attachments = (how & 64) != 0 ? 1 : 0};
    if ((how & 16) != 0) {
        static const struct buf nothing;
        h.flags = WIRE_BULK;
        h.bulk_size = bytes.size;
        say_frame(w, h, &nothing, &bytes, true);
    } else {
        say_plainly(w, h, &bytes);
    }
    buf_deinit(&bytes);
    buf_deinit(&submission);
}

/* Any of the two, whatever the worker was asked for. */
static void say_done(struct input *in) {
    say_done_as(in, a_busy_worker(in));
}

static void say_plan(struct input *in) {
    say_plan_as(in, a_busy_worker(in));
}

/* What an honest worker says: of the right kind, at least. */
static void say_answer(struct input *in) {
    static const struct buf nothing;
    struct fake_worker *w = a_busy_worker(in);
    if (w->count == 0)
        return;
    if (w->asked[0].kind == WIRE_PLAN)
        say_plan_as(in, w);
    else if (w->asked[0].kind == WIRE_PING)
        say_plainly(w, (struct wire_header){.kind = WIRE_PONG, .ticket = next_asked(w).ticket}, &nothing);
    else
        say_done_as(in, w);
}

/* WIRE_FAILED, with a fault that is as it should be but for the input's piece of JSON. */
static void say_failed(struct input *in) {
    struct fake_worker *w = a_busy_worker(in);
    struct wire_header h = {.kind = WIRE_FAILED, .ticket = next_asked(w).ticket};
    struct buf b = {0};
    struct input members = take_bytes(in, take_u8(in));
    buf_puts(&b, "{\"code\":\"handler_failed\",\"detail\":\"x\"");
    buf_append(&b, members.data, members.size);
    buf_putc(&b, '}');
    say_plainly(w, h, &b);
    buf_deinit(&b);
}

static void say_log(struct input *in) {
    struct fake_worker *w = a_busy_worker(in);
    struct wire_header h = {.kind = WIRE_LOG, .ticket = w->count == 0 ? 1 : w->asked[take_u8(in) % w->count].ticket};
    struct input text = take_bytes(in, take_u16(in) % 2048);
    struct buf b = {0};
    buf_append(&b, text.data, text.size);
    say_plainly(w, h, &b);
    buf_deinit(&b);
}

/* WIRE_LOST or WIRE_DIED. */
static void say_lost(struct input *in) {
    struct fake_worker *w = a_busy_worker(in);
    struct wire_loss loss = {.cause = take_u8(in) % 8u,
                             .signal = take_u8(in) % 80,
                             .exit_code = take_u8(in) - 1,
                             .max_rss_bytes = take_number(in),
                             .cpu_ms = take_number(in),
                             .steps = take_number(in)};
    struct input words = take_bytes(in, take_u16(in) % 2100);
    struct wire_header h = {.kind = words.size % 4 == 3 ? WIRE_DIED : WIRE_LOST}; /* the first answers nothing */
    h.ticket = h.kind == WIRE_DIED && w->count > 0 ? w->asked[w->count - 1].ticket : next_asked(w).ticket;
    struct buf b = {0};
    buf_append(&b, &loss, sizeof loss);
    buf_append(&b, words.data, words.size);
    say_plainly(w, h, &b);
    buf_deinit(&b);
}

/* WIRE_DONE with a result that is not JSON. */
static void say_binary(struct input *in) {
    struct fake_worker *w = a_busy_worker(in);
    struct wire_header h = {.kind = WIRE_DONE, .flags = WIRE_BINARY, .ticket = next_asked(w).ticket};
    uint8_t how = take_u8(in);
    struct wire_times times = {1, 2, 3, 4};
    struct buf b = {0};
    buf_append(&b, &times, sizeof times);
    buf_append(&b,
               &(struct wire_binary){.source = how % 5u,
                                     .index = take_u8(in) % 4u,
                                     .offset = (how & 8) != 0 ? take_number(in) : 0,
                                     .size = (how & 16) != 0 ? take_number(in) : 5,
                                     .media_size = (how & 32) != 0 ? take_u8(in) : 9,
                                     .summary_size = (how & 64) != 0 ? (uint32_t)take_number(in) : 2},
               sizeof(struct wire_binary));
    buf_append(&b, "image/png\0\0\0\0\0\0\0{}\0\0\0\0\0\0bytes", 29);
    spoil(in, &b);
    say_plainly(w, h, &b);
    buf_deinit(&b);
}

/* WIRE_MADE. */
static void say_made(struct input *in) {
    static const struct buf nothing;
    struct fake_worker *w = a_busy_worker(in);
    uint8_t how = take_u8(in);
    struct wire_header h = {
        .kind = WIRE_MADE, .flags = WIRE_BULK | ((how & 1) != 0 ? WIRE_OWN : 0), .ticket = next_asked(w).ticket};
    struct buf bulk = {0};
    if ((how & 16) != 0) {
        buf_append(&bulk, "inline", 6);
        h.flags &= (uint16_t)~WIRE_BULK;
        say_plainly(w, h, &bulk);
        buf_deinit(&bulk);
        return;
    }
    buf_append(&bulk, "made", 4);
    h.bulk_size = (how & 2) != 0 ? take_number(in) : bulk.size;
    say_frame(w, h, (how & 4) != 0 ? &bulk : &nothing, &bulk, (how & 8) == 0);
    buf_deinit(&bulk);
}

static void say_on_stderr(struct input *in) {
    struct fake_worker *w = a_worker(in);
    struct input bytes = take_bytes(in, take_u8(in));
    if (w->stderr_fd >= 0 && bytes.size > 0 && write(w->stderr_fd, bytes.data, bytes.size) < 0)
        close_worker(w);
}

static void write_scoreboard(struct input *in) {
    struct scoreboard_slot *board = pool_worker(pool, take_u8(in) % SLOTS)->board;
    atomic_store(&board->current, take_number(in));
    atomic_store(&board->done, take_number(in));
    atomic_store(&board->total, take_number(in));
}

static void close_socket(struct input *in) {
    struct fake_worker *w = a_worker(in);
    if (w->socket >= 0)
        close(w->socket);
    w->socket = -1;
    w->count = 0;
}

/* ---- the service ------------------------------------------------------------------------------------------------- */

static void ping(struct input *in) {
    pool_ping(pool_worker(pool, take_u8(in) % SLOTS));
}

static void reload(struct input *in) {
    (void)in;
    if (pool_reload(pool) != 0)
        return;
}

static void look(struct input *in) {
    struct buf text = {0};
    struct client *c = &clients[take_u8(in) % MAX_CLIENTS];
    struct job_view view = job_look(c->job);
    if (c->job != NULL) {
        render_job(&text, job_record(c->job), &view, true);
        (void)job_estimated_work_ms(c->job);
    }
    jobs_write_metrics(jobs, &text);
    buf_deinit(&text);
}

static void (*const steps[])(struct input *in) = {
    say_log,        submit,     say_plan,   say_done, say_failed,   say_any_reply,    say_bytes,           become_ready,
    say_spawned,    say_exited, say_loaded, cancel,   close_socket, say_on_stderr,    say_bytes_as_zygote, end_zygote,
    say_any_report, ping,       reload,     look,     throttle,     write_scoreboard, say_answer,          say_lost,
    say_binary,     say_made,
};

static void on_loaded(void *owner) {
    (void)owner;
}

static void on_load_failed(void *owner, const char *type) {
    (void)owner;
    MUST(strlen(type) < 64);
}

static void on_pong(void *owner, struct worker *w) {
    (void)owner, (void)w;
}

static void settle(void) {
    for (int i = 0; i < 3; i++) {
        jobs->dirty = true;
        jobs_dispatch(jobs);
        loop_step(loop, 0);
        hear_requests();
        hear_tasks();
    }
}

/* A service whose workers are ready. */
static void open_service(void) {
    const struct jobs_config jobs_config = {.job_timeout_ns = 3600 * NS_PER_S,
                                            .result_ttl_ms = 3600000,
                                            .express_cost_ns = 5 * NS_PER_MS,
                                            .max_queue = 4096,
                                            .max_delayed = 4096,
                                            .keep_sync = 8,
                                            .max_json_depth = 64};
    const struct pool_config pool_config = {
        .workers = MAIN, .express_workers = EXPRESS, .cancel_grace_ns = 3600 * NS_PER_S, .test_types = true};
    next_pid = FIRST_PID;
    zygotes_started = 0;
    memset(&metrics, 0, sizeof metrics);
    memset(clients, 0, sizeof clients);
    for (int i = 0; i < SLOTS; i++)
        workers[i] = (struct fake_worker){.socket = -1, .stderr_fd = -1};
    held_set_limit(64 << 20);
    loop = loop_new();
    MUST(loop != NULL);
    jobs = jobs_new(loop, &jobs_config, &metrics, store_memory_open(&(struct store_limits){.max_ended = 8}, true),
                    store_memory_open(&(struct store_limits){.max_ended = 8}, false));
    MUST(jobs != NULL);
    struct pool_events events = jobs_pool_events(jobs);
    events.loaded = on_loaded;
    events.load_failed = on_load_failed;
    events.pong = on_pong;
    pool = pool_new(loop, &pool_config, &events);
    MUST(pool != NULL && pool_start(pool) == 0);
    MUST(jobs_set_pool(jobs, pool) == 0);
    say_report(zygotes[0], (struct zygote_report){.kind = ZYGOTE_LOADED}, NULL);
    settle();
    for (unsigned i = 0; i < SLOTS; i++) {
        static const struct buf nothing;
        fork_worker(zygotes[0], i);
        settle();
        say_plainly(&workers[i], (struct wire_header){.kind = WIRE_READY}, &nothing);
    }
    settle();
}

static void close_service(void) {
    for (int i = 0; i < MAX_CLIENTS; i++) {
        job_unwait(&clients[i].waiter);
        history_close(clients[i].history);
    }
    jobs_free(jobs);
    pool_free(pool);
    for (unsigned i = 0; i < zygotes_started; i++)
        if (zygotes[i] >= 0)
            close(zygotes[i]);
    for (int i = 0; i < SLOTS; i++)
        close_worker(&workers[i]);
    loop_free(loop);
}

/* The lowest descriptor that is free. */
static int free_descriptor(void) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(fd);
    return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    log_threshold = LOG_ERROR + 1;
    signal(SIGPIPE, SIG_IGN);
    host_init(true);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    int fd = free_descriptor();
    open_service();
    for (int i = 0; i < MAX_STEPS && in.size > 0; i++) {
        steps[take_u8(&in) % (sizeof steps / sizeof *steps)](&in);
        settle();
    }
    close_service();
    MUST(blob_held_bytes == 0);
    MUST(free_descriptor() == fd);
    return 0;
}
