/* wire_worker.c: what workers and zygotes read. pool/worker.c and pool/zygote.c are included below, so that a datagram
 * can be given to them without a process: their _exit comes back here, and no process is forked or killed.
 *
 *     input   a byte that says who reads, then a list of steps: a byte that says which, and what that step reads
 *
 * As a worker: frames of any kind with any bytes; and whole jobs as an honest front end sends them, but for some bytes
 * of the plan, the chunks and the parts that the input changes. Each reply has to be a good datagram. A handler that
 * takes long is cancelled by a timer.
 *
 * As a zygote: any requests. It must signal only processes that it has forked. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/log.h"
#include "handlers/host/host.h"
#include "pool/cgroup.h"
#include "pool/scoreboard.h"
#include "pool/wire.h"
#include "pool/worker.h"
#include "pool/zygote.h"
#include "tests/fuzz/input.h"

enum { FIRST_PID = 5000000, MAX_STEPS = 64, CANCEL_MS = 30 };

static jmp_buf process_ended;
static int zygote_socket; /* its end of the control socket */
static int forked;        /* how many processes it has */

static void release_bulk(void); /* of worker.c, below */

static _Noreturn void fuzz_exit(int status) {
    (void)status;
    release_bulk(); /* the end of the process would do it */
    longjmp(process_ended, 1);
}

static pid_t fuzz_fork(void) {
    errno = EAGAIN;
    return forked % 8 == 7 ? -1 : FIRST_PID + forked++;
}

static int fuzz_kill(pid_t pid, int signal) {
    (void)signal;
    MUST(pid >= FIRST_PID && pid < FIRST_PID + forked);
    return 0;
}

/* What they call of the system; and the title of this process stays. */
#define _exit             fuzz_exit
#define fork              fuzz_fork
#define kill              fuzz_kill
#define setproctitle(...) ((void)0)
#undef ZYGOTE_SOCKET_FD
#define ZYGOTE_SOCKET_FD zygote_socket
#include "pool/replies.c"
#include "pool/worker.c"
#define self process /* the name of a variable in it */
#include "pool/zygote.c"
#undef self
#undef _exit
#undef fork
#undef kill

/* ---- as a worker ------------------------------------------------------------------------------------------------- */

static struct scoreboard_slot *board;
static unsigned char *buffer; /* of the front end's end */
static struct wire_writer tasks;
static int front_end; /* its end of the socket */
static uint64_t last_ticket;

/* What the worker has answered last. */
static uint8_t answered;
static struct buf answer;

static void on_timer(int signal) {
    static int64_t began_ns;
    static uint64_t seen;
    (void)signal;
    uint64_t now = self.ticket;
    if (now != seen) {
        seen = now;
        began_ns = clock_monotonic_ns();
    } else if (now != 0 && clock_monotonic_ns() - began_ns > CANCEL_MS * NS_PER_MS) {
        atomic_store(&board->cancelled[now % WIRE_MAX_IN_FLIGHT], now);
    }
}

/* Each reply must be a good one, and answer a ticket that was sent. */
static void hear_replies(void) {
    struct wire_reader r;
    struct wire_frame f;
    int got;
    while (wire_receive(front_end, buffer, &r) == 1) {
        while ((got = wire_next(&r, &f)) == 1) {
            struct slice bulk = {NULL, 0, 0};
            MUST(wire_is_reply(f.header.kind));
            MUST((f.header.flags & WIRE_BULK) == 0 || wire_take_bulk(&r, &f, &bulk) == 0);
            size_t front = f.header.kind == WIRE_DONE ? sizeof(struct wire_times) : 0;
            MUST(f.header.length >= front);
            struct slice payload = wire_payload(&f, &bulk, front);
            const unsigned char *bytes = slice_map(&payload);
            MUST(bytes != NULL || payload.size == 0);
            answered = f.header.kind;
            buf_clear(&answer);
            buf_append(&answer, bytes, payload.size);
            slice_unmap(&payload, bytes);
            slice_deinit(&payload);
            slice_deinit(&bulk);
        }
        MUST(got == 0);
        wire_close_reader(&r);
    }
}

/* The worker takes one datagram, as worker_main does. */
static void take_datagram(const struct wire_reader *r) {
    self.reader = *r;
    if (setjmp(process_ended) == 0) {
        handle_datagram();
    } else {
        wire_close_reader(&self.reader);
        self.reading = self.has_ahead = false;
        slice_deinit(&leaving.writer.bulk);
        leaving.writer.size = leaving.writer.frames = 0;
        self.batch_count = 0;
        drop_merge();
    }
    self.ticket = 0;
    hear_replies();
}

static void receive_datagram(void) {
    struct wire_reader r;
    if (wire_receive(self.socket, self.buffer, &r) != 1)
        return;
    void *exact = exact_copy(r.data, r.size);
    r.data = exact;
    take_datagram(&r);
    free(exact);
}

static void send_frames(void) {
    if (tasks.frames == 0)
        return;
    MUST(wire_flush(&tasks, front_end) == 0);
    receive_datagram();
}

static void put(struct wire_header h, const void *first, size_t first_size, const void *second, size_t second_size) {
    if (first_size + second_size > WIRE_MAX_INLINE)
        return;
    if (!wire_fits(&tasks, first_size + second_size, false))
        send_frames();
    MUST(wire_put(&tasks, &h, first, first_size, second, second_size, NULL) == 0);
}

/* A datagram of the input's bytes alone, some with a descriptor. */
static void send_bytes(struct input *in) {
    uint8_t how = take_u8(in);
    struct input bytes = take_bytes(in, take_u16(in) % 2048);
    void *exact = exact_copy(bytes.data, bytes.size);
    struct wire_reader r = {.data = exact, .size = bytes.size, .fd = -1};
    if (how % 8 == 7)
        r.fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    take_datagram(&r);
    free(exact);
}

/* A frame whose header and payload are the input's, but for what wire_put fills in. */
static void send_frame(struct input *in) {
    uint8_t how = take_u8(in);
    struct wire_header h = {.kind = take_u8(in) % 8u,
                            .flags =
                                take_u8(in) & (WIRE_RAW | WIRE_GO | WIRE_ITEMS | WIRE_HASH | WIRE_OWN | WIRE_UNSEALED)};
    h.attachments = h.kind == WIRE_PLAN || h.kind == WIRE_RUN || h.kind == WIRE_MERGE ? how >> 6 : 0;
    bool follows = h.kind == WIRE_PART || (h.kind <= WIRE_MERGE && h.attachments > 0); /* frames of its ticket */
    h.ticket = (how & 1) != 0 ? take_number(in) : follows ? last_ticket : ++last_ticket;
    h.type = (uint32_t)take_number(in);
    h.attempt = (uint32_t)take_number(in);
    h.count = (uint32_t)take_number(in);
    h.budget_ns = (how & 2) != 0 ? take_number(in) : UINT64_MAX;
    struct input payload = take_bytes(in, take_u16(in) % 2048);
    if ((how & 4) != 0) { /* as bulk */
        struct slice bulk = slice_all(blob_copy_sealed("fuzz", payload.data, payload.size));
        send_frames();
        uint32_t common[2] = {take_u8(in), 0};
        MUST(wire_put(&tasks, &h, common, take_u8(in) % (sizeof common + 1), NULL, 0, &bulk) == 0);
        slice_deinit(&bulk);
        send_frames();
    } else {
        put(h, payload.data, payload.size, NULL, 0);
    }
    if ((how & 8) == 0)
        send_frames();
}

static void cancel(struct input *in) {
    uint64_t ticket = last_ticket + take_u8(in) % 4u;
    atomic_store(&board->cancelled[ticket % WIRE_MAX_IN_FLIGHT], ticket);
}

/* Changes some bytes of it, or its length. */
static size_t spoil(struct input *in, void *bytes, size_t size) {
    unsigned char *b = bytes;
    for (uint8_t n = take_u8(in) % 4; n > 0 && size > 0; n--) {
        size_t at = take_u16(in) % size;
        b[at] = take_u8(in);
    }
    uint8_t cut = take_u8(in);
    return cut < 240 ? size : size - size * (256u - cut) / 16u;
}

/* The payload of WIRE_RUN and WIRE_MERGE. */
static void put_task(struct wire_header h, const void *common, size_t common_size, const void *chunk, size_t size) {
    struct buf front = {0};
    buf_append(&front, (uint32_t[2]){(uint32_t)common_size, 0}, 8);
    buf_append(&front, common, common_size);
    buf_append(&front, "\0\0\0\0\0\0\0", WIRE_PAD(common_size) - common_size);
    put(h, front.data, front.size, chunk, size);
    buf_deinit(&front);
}

/* Runs and merges what the worker has planned: `plan`, which the front end does not look into. */
static void run_plan(struct input *in, struct wire_plan *head, struct buf *plan, uint16_t flags) {
    size_t table = sizeof *head, common = table + head->chunks * sizeof(struct wire_chunk);
    size_t bytes = common + WIRE_PAD(head->common_size) + WIRE_PAD(head->submission_size);
    unsigned count = head->chunks < 6 ? head->chunks : 6;
    struct buf parts[6] = {{0}};
    unsigned have = 0;
    for (unsigned i = 0; i < count; i++) {
        struct wire_chunk c;
        struct wire_header h = {.kind = WIRE_RUN, .ticket = ++last_ticket, .type = head->type, .flags = flags};
        memcpy(&c, plan->data + table + i * sizeof c, sizeof c);
        MUST(bytes + c.offset + c.size <= plan->size);
        void *chunk = exact_copy(plan->data + bytes + c.offset, c.size);
        size_t size = spoil(in, chunk, c.size);
        answered = 0;
        put_task(h, plan->data + common, head->common_size, chunk, size);
        send_frames();
        free(chunk);
        if (answered == WIRE_DONE)
            buf_append(&parts[have++], answer.data, answer.size);
    }
    struct wire_header h = {
        .kind = WIRE_MERGE, .ticket = ++last_ticket, .type = head->type, .count = have, .flags = flags};
    if (have > 0)
        put_task(h, plan->data + common, head->common_size, NULL, 0);
    for (unsigned i = 0; i < have; i++) {
        h.kind = WIRE_PART;
        h.flags = 0;
        if (parts[i].size > 0)
            put(h, parts[i].data, spoil(in, parts[i].data, parts[i].size), NULL, 0);
        else
            put(h, NULL, 0, NULL, 0);
        buf_deinit(&parts[i]);
    }
    send_frames();
}

/* A job whose body is the input's. Its packed parameters are spoilt, too, if the input says so: the front end makes
 * them, but a handler must not trust what is behind a socket. */
static void send_job(struct input *in) {
    uint8_t how = take_u8(in);
    struct input body = take_bytes(in, take_u16(in) % 1024);
    struct submission s = {0};
    struct fault fault = {{0}};
    struct buf plan = {0};
    if (submission_parse(body.data, body.size, 64, 0, &s, &fault) == 0 && s.params.size <= WIRE_MAX_INLINE) {
        struct wire_header h = {.kind = WIRE_PLAN, .ticket = ++last_ticket, .type = s.type, .count = how % 8u};
        h.flags = (s.map ? WIRE_ITEMS : 0) | ((how & 16) != 0 ? WIRE_GO : 0);
        h.budget_ns = UINT64_MAX;
        size_t size = s.params.size;
        if ((how & 32) != 0 && size > 0)
            size = spoil(in, s.params.data, size);
        answered = 0;
        send_frames();
        put(h, s.params.data, size, NULL, 0);
        send_frames();
        if (answered == WIRE_PLANNED) {
            struct wire_plan head;
            buf_append(&plan, answer.data, answer.size);
            MUST(plan.size >= sizeof head);
            memcpy(&head, plan.data, sizeof head);
            run_plan(in, &head, &plan, s.map ? WIRE_ITEMS : 0);
        }
    }
    buf_deinit(&plan);
    submission_deinit(&s);
    fault_deinit(&fault);
}

static void do_worker(struct input *in) {
    for (int i = 0; i < MAX_STEPS && in->size > 0; i++)
        switch (take_u8(in) % 4) {
        case 0: send_bytes(in); break;
        case 1: send_frame(in); break;
        case 2: send_job(in); break;
        case 3: cancel(in); break;
        }
    send_frames();
    if (self.merge.header.kind != 0)
        drop_merge();
}

/* ---- as a zygote ------------------------------------------------------------------------------------------------- */

static void hear_reports(int socket) {
    struct zygote_report r;
    int fds[2];
    while (wire_receive_control(socket, &r, sizeof r, fds) == 1) {
        MUST(r.version == WIRE_VERSION);
        MUST((r.kind == ZYGOTE_SPAWNED && fds[0] >= 0 && fds[1] >= 0) || (r.kind == ZYGOTE_NOT_SPAWNED && fds[0] < 0));
        descriptors_close_pair(fds);
    }
}

static void do_zygote(struct input *in) {
    int fds[2], pipes[2];
    forked = 0;
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    MUST(pipe2(pipes, O_CLOEXEC) == 0);
    zygote_socket = fds[1];
    for (bool serves = true; serves && in->size > 0;) {
        uint8_t how = take_u8(in);
        if (how % 4 == 0) {
            struct input bytes = take_bytes(in, take_u8(in));
            serves = bytes.size > 0 && send(fds[0], bytes.data, bytes.size, MSG_NOSIGNAL) >= 0;
        } else {
            struct zygote_request q = {.version = how % 4 == 1 ? take_u8(in) : WIRE_VERSION, .kind = take_u8(in) % 4u};
            q.slot = (uint32_t)take_number(in);
            q.start_type = (how & 4) != 0 ? START_FORKED : (uint32_t)take_number(in);
            q.pid = (how & 8) != 0 ? FIRST_PID + take_u8(in) % 8 : (int32_t)take_number(in);
            q.signal = (int32_t)take_number(in);
            serves = wire_send_control(fds[0], &q, sizeof q, (how & 16) != 0 ? pipes : NULL) == 0;
        }
        serves = serves && serve_request();
        hear_reports(fds[0]);
    }
    descriptors_close_pair(fds);
    descriptors_close_pair(pipes);
    for (size_t i = 0; i < zygote.count; i++)
        templates_remove_worker(zygote.children[i].pid);
    free(zygote.children);
    zygote.children = NULL;
    zygote.count = zygote.room = 0;
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

/* For the leak sanitizer, whatever its options are: a worker that ends in the middle of a task frees nothing, and that is
 * no leak. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) {
    return 1;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    struct buf error = {0};
    int fds[2], size = 4 * 1024 * 1024;
    timer_t timer;
    struct sigaction act = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    struct itimerspec every = {{0, 10 * NS_PER_MS}, {0, 10 * NS_PER_MS}};
    (void)argc, (void)argv;
    log_threshold = LOG_ERROR + 1;
    signal(SIGPIPE, SIG_IGN);
    host_init(false);
    MUST(host_load(NULL, &error) == 0);
    int scoreboard = scoreboard_new(1);
    MUST(scoreboard >= 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    for (int i = 0; i < 2; i++)
        if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
            setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    zygote.loop = loop_new();
    MUST(zygote.loop != NULL);
    templates_init(zygote.loop);
    front_end = fds[0];
    self.socket = fds[1];
    self.board = board = scoreboard_map(scoreboard, 0);
    self.buffer = aligned_alloc(64, WIRE_MAX_DATAGRAM);
    buffer = malloc(WIRE_MAX_DATAGRAM);
    MUST(board != NULL && self.buffer != NULL && buffer != NULL);
    replies_open(fds[1], board);
    MUST(wire_open_writer(&tasks) == 0);
    sigaction(SIGRTMIN, &act, NULL);
    MUST(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &every, NULL) == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    last_ticket = 0;
    scoreboard_clear(board);
    int first = dup(front_end); /* the lowest descriptor that is free */
    close(first);
    if ((take_u8(&in) & 1) != 0)
        do_zygote(&in);
    else
        do_worker(&in);
    close_range((unsigned)first, ~0u, 0); /* a worker that ended has left some */
    buf_deinit(&answer);
    return 0;
}
