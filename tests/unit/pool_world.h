/* pool_world.h: a pool whose zygotes and workers are played by the test, for the tests of pool/pool.c and the modules
 * below it. zygote_start is the function below (the linker leaves the real one in the archive), and a worker is the far
 * end of a socket. Include cmocka.h before. */
#ifndef OFFLOAD_TESTS_POOL_WORLD_H
#define OFFLOAD_TESTS_POOL_WORLD_H

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "pool/pool.h"
#include "pool/scoreboard.h"
#include "pool/zygote_start.h"
#include "tests/unit/fake_zygote.h"

enum {
    MAX_ZYGOTES = 8,
    MAX_WORKERS = 64,
    MAX_LOST = 64,
    FIRST_PID = 5000000 /* beyond what Linux gives to a process */
};

static struct loop *loop;
static struct pool *pool;
static unsigned descriptors;

static struct fake_zygote zygotes[MAX_ZYGOTES];
static unsigned zygotes_started;
static int scoreboard_fd;

/* A worker's end. */
struct fake_worker {
    struct fake_zygote *zygote;
    unsigned slot;
    uint32_t nice;
    uint32_t start_type;
    pid_t pid;
    int socket, stderr_fd; /* -1: closed */
};
static struct fake_worker workers[MAX_WORKERS];
static unsigned workers_forked;

struct lost_task {
    void *task;
    bool guilty, worker_lives;
    uint64_t steps;
    char cause[16], stderr_tail[2048];
    int signal, exit_code;
};

/* The events of the pool. */
static struct {
    unsigned loaded, load_failed, pongs, replies, lost, held_back, restarted, isolation_ended, can_send, changed;
    unsigned processes_died;
    void *last_task, *held_back_task;
    uint8_t last_kind;
    struct lost_task lost_tasks[MAX_LOST];
    void *log_task;
    struct buf log; /* all texts, one behind the other */
    char cause[16], why[1024];
    void *owner;
    bool start_failed, reject_replies, keep_waiting;
} seen;

/* A task is an address in here. */
static char tasks[MAX_LOST];

int zygote_start(enum zygote_birth birth, int fd, const struct pool_config *config, pid_t *pid) {
    (void)birth, (void)config;
    struct fake_zygote *z = &zygotes[zygotes_started++];
    int socket = fake_zygote_open(z, true);
    scoreboard_fd = fd;
    *pid = z->pid;
    return socket;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static inline void on_loaded(void *owner) {
    (void)owner;
    seen.loaded++;
}

static inline void on_load_failed(void *owner, const char *why) {
    (void)owner;
    snprintf(seen.why, sizeof seen.why, "%s", why);
    seen.load_failed++;
}

static inline void on_pong(void *owner, struct worker *w) {
    (void)owner, (void)w;
    seen.pongs++;
}

static inline bool on_reply(void *arg, struct worker *w, void *task, const struct wire_frame *f,
                            const struct slice *bulk) {
    (void)arg, (void)w, (void)bulk;
    seen.last_task = task;
    seen.last_kind = f->header.kind;
    seen.replies += !seen.reject_replies;
    return !seen.reject_replies;
}

static inline void on_lost(void *arg, struct worker *w, void *task, bool guilty, const struct death *d) {
    (void)arg, (void)w;
    struct lost_task *l = &seen.lost_tasks[seen.lost++];
    *l = (struct lost_task){.task = task, .guilty = guilty, .signal = d->signal, .exit_code = d->exit_code};
    l->worker_lives = d->worker_lives;
    l->steps = d->steps;
    snprintf(l->cause, sizeof l->cause, "%s", d->cause);
    snprintf(l->stderr_tail, sizeof l->stderr_tail, "%s", d->stderr_tail);
}

static inline void on_log(void *arg, struct worker *w, void *task, const char *text, size_t size) {
    (void)arg, (void)w;
    seen.log_task = task;
    buf_append(&seen.log, text, size);
}

static inline void on_process_died(void *arg, struct worker *w, const struct death *d) {
    (void)arg, (void)w;
    seen.processes_died++;
    snprintf(seen.cause, sizeof seen.cause, "%s", d->cause);
}

static inline bool on_held_back(void *arg, struct worker *w, void *task) {
    (void)arg, (void)w;
    seen.held_back++;
    seen.held_back_task = task;
    return !seen.keep_waiting;
}

static inline void on_restarted(void *arg, const char *cause) {
    (void)arg;
    seen.restarted++;
    snprintf(seen.cause, sizeof seen.cause, "%s", cause);
}

static inline void on_isolation_ended(void *arg, struct worker *w, void *owner, const struct death *start) {
    (void)arg, (void)w;
    seen.isolation_ended++;
    seen.owner = owner;
    seen.start_failed = start != NULL;
}

static inline void on_can_send(void *arg, struct worker *w) {
    (void)arg, (void)w;
    seen.can_send++;
}

static inline void on_changed(void *arg) {
    (void)arg;
    seen.changed++;
}

/* ---- the world --------------------------------------------------------------------------------------------------- */

static const struct pool_config small = {.workers = 1, .cancel_grace_ns = 10 * NS_PER_S};

static inline void start_pool(const struct pool_config *config) {
    static const struct pool_events events = {.loaded = on_loaded,
                                              .load_failed = on_load_failed,
                                              .pong = on_pong,
                                              .reply = on_reply,
                                              .lost = on_lost,
                                              .log = on_log,
                                              .process_died = on_process_died,
                                              .held_back = on_held_back,
                                              .restarted = on_restarted,
                                              .isolation_ended = on_isolation_ended,
                                              .can_send = on_can_send,
                                              .changed = on_changed};
    pool = pool_new(loop, config, &events);
    assert_non_null(pool);
    assert_int_equal(pool_start(pool), 0);
}

static inline int open_world(void **state) {
    (void)state;
    memset(&seen, 0, sizeof seen);
    zygotes_started = workers_forked = 0;
    pool = NULL;
    descriptors = count_descriptors();
    loop = loop_new();
    return loop == NULL ? -1 : 0;
}

static inline void close_worker(struct fake_worker *w) {
    if (w->socket >= 0)
        close(w->socket);
    if (w->stderr_fd >= 0)
        close(w->stderr_fd);
    w->socket = w->stderr_fd = -1;
}

/* Whatever a test did, no descriptor, no blob and no child is left. */
static inline int close_world(void **state) {
    (void)state;
    pool_free(pool);
    for (unsigned i = 0; i < workers_forked; i++)
        close_worker(&workers[i]);
    for (unsigned i = 0; i < zygotes_started; i++)
        fake_zygote_close(&zygotes[i]);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    loop_free(loop);
    buf_deinit(&seen.log);
    assert_int_equal(count_descriptors(), descriptors);
    assert_int_equal(blob_held_bytes, 0);
    return 0;
}

/* Handles all that was sent to the pool. */
static inline void settle(void) {
    for (int i = 0; i < 5; i++)
        loop_step(loop, 0);
}

static inline struct worker *slot(unsigned i) {
    return pool_worker(pool, i);
}

/* ---- the zygote's part ------------------------------------------------------------------------------------------- */

/* Waits for the next request of that kind to that zygote. A SIGKILL can come before a request for a worker: a worker
 * whose socket is closed gets it, even if it has exited. */
static inline struct zygote_request await_request(struct fake_zygote *z, enum zygote_request_kind kind) {
    struct zygote_request q = {.kind = 0};
    do {
        STEP_UNTIL(loop, fake_zygote_receive(z, &q));
        assert_int_equal(q.version, WIRE_VERSION);
        assert_true(q.kind == kind || (q.kind == ZYGOTE_SIGNAL && q.signal == SIGKILL));
    } while (q.kind != kind);
    return q;
}

static inline void assert_no_request(struct fake_zygote *z) {
    struct zygote_request q;
    assert_false(fake_zygote_receive(z, &q));
}

static inline void report_loaded(struct fake_zygote *z) {
    unsigned before = seen.loaded;
    fake_zygote_report(z, (struct zygote_report){.kind = ZYGOTE_LOADED}, NULL);
    STEP_UNTIL(loop, seen.loaded > before);
}

/* Answers a request for a worker with a process of that pid. narrow: the buffer of its socket is small. */
static inline struct fake_worker *fork_worker_as(struct fake_zygote *z, const struct zygote_request *q, pid_t pid,
                                                 bool narrow) {
    struct fake_worker *w = &workers[workers_forked++];
    int sockets[2], pipes[2], size = 4096;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets), 0);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    if (narrow)
        setsockopt(sockets[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    *w = (struct fake_worker){z, q->slot, q->nice, q->start_type, pid, sockets[1], pipes[1]};
    fake_zygote_report(z, (struct zygote_report){.kind = ZYGOTE_SPAWNED, .slot = q->slot, .pid = pid},
                       (int[]){sockets[0], pipes[0]});
    close(sockets[0]);
    close(pipes[0]);
    return w;
}

/* Answers the next request for a worker. */
static inline struct fake_worker *fork_worker(struct fake_zygote *z) {
    struct zygote_request q = await_request(z, ZYGOTE_SPAWN);
    struct fake_worker *w = fork_worker_as(z, &q, FIRST_PID + (pid_t)workers_forked, false);
    STEP_UNTIL(loop, worker_look(slot(q.slot)).pid == w->pid);
    return w;
}

static inline void report_exit(struct fake_worker *w, int status) {
    unsigned before = seen.restarted;
    close_worker(w);
    fake_zygote_report(w->zygote,
                       (struct zygote_report){.kind = ZYGOTE_EXITED, .slot = w->slot, .pid = w->pid, .status = status},
                       NULL);
    STEP_UNTIL(loop, seen.restarted > before);
}

/* Waits until the zygote is asked to send that signal to that worker. */
static inline void await_signal(const struct fake_worker *w, int signal) {
    struct zygote_request q = await_request(w->zygote, ZYGOTE_SIGNAL);
    assert_int_equal(q.pid, w->pid);
    assert_int_equal(q.signal, signal);
}

/* ---- the worker's part ------------------------------------------------------------------------------------------- */

/* One frame with at most 32 KiB inline. */
static inline void say_with(struct fake_worker *w, struct wire_header h, const void *bytes, size_t size) {
    static unsigned char frame[sizeof h + 32 * 1024];
    h.version = WIRE_VERSION;
    h.length = (uint32_t)size;
    memset(frame, 0, sizeof frame);
    memcpy(frame, &h, sizeof h);
    memcpy(frame + sizeof h, bytes, size);
    ssize_t n = (ssize_t)(sizeof h + WIRE_PAD(size));
    assert_int_equal(send(w->socket, frame, (size_t)n, 0), n);
}

static inline void say(struct fake_worker *w, uint8_t kind, uint64_t ticket) {
    struct wire_header h = {.version = WIRE_VERSION, .kind = kind, .ticket = ticket};
    assert_int_equal(send(w->socket, &h, sizeof h, 0), sizeof h);
}

static inline void become_ready(struct fake_worker *w) {
    say(w, WIRE_READY, 0);
    STEP_UNTIL(loop, worker_is_up(slot(w->slot)));
}

/* Starts a pool, and makes its only worker ready. */
static inline struct fake_worker *ready_worker(const struct pool_config *config) {
    start_pool(config);
    report_loaded(&zygotes[0]);
    struct fake_worker *w = fork_worker(&zygotes[0]);
    become_ready(w);
    return w;
}

/* Makes the next process of the slot ready. */
static inline struct fake_worker *next_worker(struct fake_zygote *z) {
    struct fake_worker *w = fork_worker(z);
    become_ready(w);
    return w;
}

/* Adds a task with that many bytes. Returns its ticket. */
static inline uint64_t give(unsigned i, void *task, size_t size) {
    static char bytes[WIRE_MAX_INLINE];
    struct wire_header h = {.kind = WIRE_RUN, .type = 1};
    assert_true(worker_takes_tasks(slot(i)));
    return pool_send_task(slot(i), &(struct pool_task){.header = h, .front = bytes, .front_size = size, .owner = task});
}

static inline uint64_t give_now(unsigned i, void *task) {
    uint64_t ticket = give(i, task, 8);
    pool_flush(slot(i));
    return ticket;
}

static inline void answer(struct fake_worker *w, uint64_t ticket) {
    unsigned before = seen.replies;
    say(w, WIRE_DONE, ticket);
    STEP_UNTIL(loop, seen.replies > before);
}

/* Gets the headers of the next datagram that has come. Returns how many; 0: there is no datagram. */
static inline unsigned hear(struct fake_worker *w, struct wire_header *headers) {
    static unsigned char buffer[WIRE_MAX_DATAGRAM];
    struct wire_reader r;
    struct wire_frame f;
    unsigned n = 0;
    if (wire_receive(w->socket, buffer, &r) != 1)
        return 0;
    while (wire_next(&r, &f) == 1)
        headers[n++] = f.header;
    wire_close_reader(&r);
    return n;
}

/* The only frame of the next datagram is of that kind. */
static inline void expect_frame(struct fake_worker *w, uint8_t kind) {
    struct wire_header h[WIRE_MAX_FRAMES];
    assert_int_equal(hear(w, h), 1);
    assert_int_equal(h[0].kind, kind);
}

static inline struct scoreboard_slot *board_of(unsigned i) {
    struct scoreboard_slot *s = scoreboard_map(scoreboard_fd, i);
    assert_non_null(s);
    return s;
}

#define POOL_TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

#endif
