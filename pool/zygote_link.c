/* zygote_link.c: see zygote_link.h, which has the diagram of its states. Front end. */
#include "pool/zygote_link.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/state.h"
#include "pool/stderr_tail.h"
#include "pool/wire.h"

/* A zygote keeps to the limit by itself where it can. Only one that hangs has to be stopped. */
#define LOAD_SPARE_NS NS_PER_S

enum link_state { LINK_LOADING, LINK_LOADED, LINK_FAILED, LINK_LOST, LINK_STATES };

struct zygote_link {
    struct loop *loop;
    struct zygote_link_events events;
    enum link_state state;
    pid_t pid;
    bool reaped;        /* the process is dead and its pid is free; the socket can be open still */
    int status;         /* then: how it ended */
    struct watch watch; /* the control socket */
    struct stderr_tail stderr_tail;
    int64_t load_limit_ns;   /* 0: none */
    struct timer load_timer; /* set while it loads, if there is a limit */
    char loading[1024];      /* what it loads, for messages */
    /* Requests that the socket did not take, oldest first: it holds some 280 datagrams. While there is one, the socket
     * is watched for room. */
    struct zygote_request *waiting;
    size_t waiting_count, waiting_room; /* room: see base/array.h */
};

static void limit_load(struct zygote_link *z) {
    if (z->load_limit_ns > 0)
        loop_set_timer(z->loop, &z->load_timer, clock_monotonic_ns() + z->load_limit_ns + LOAD_SPARE_NS);
}

static void move(struct zygote_link *z, enum link_state to) {
    static const struct state_row states[LINK_STATES] = {
        [LINK_LOADING] = {"loading", TO(LINK_LOADED) | TO(LINK_FAILED) | TO(LINK_LOST)},
        [LINK_LOADED] = {"loaded", TO(LINK_LOST)},
        [LINK_FAILED] = {"failed", TO(LINK_LOST)},
        [LINK_LOST] = {"lost", 0},
    };
    state_check_move("zygote_link", states, z->state, to);
    z->state = to;
    loop_clear_timer(z->loop, &z->load_timer);
}

/* ---- reports ----------------------------------------------------------------------------------------------------- */

static void lose(struct zygote_link *z) {
    bool was_loaded = z->state == LINK_LOADED;
    loop_unwatch(z->loop, &z->watch);
    if (!z->reaped)
        kill(z->pid, SIGKILL); /* the pid is ours until it is reaped */
    move(z, LINK_LOST);
    stderr_tail_read(&z->stderr_tail); /* its last words */
    z->events.lost(z->events.owner, z, was_loaded);
}

/* False: a zygote that works as it should does not send this report in this state. */
static bool is_possible(const struct zygote_link *z, const struct zygote_report *r) {
    switch (r->kind) {
    case ZYGOTE_LOADED:
    case ZYGOTE_LOADING:
    case ZYGOTE_LOAD_FAILED: return z->state == LINK_LOADING;
    case ZYGOTE_SPAWNED:
    case ZYGOTE_EXITED: return z->state == LINK_LOADED && r->pid > 0;
    case ZYGOTE_NOT_SPAWNED: return z->state == LINK_LOADED;
    case ZYGOTE_STDERR: return z->state == LINK_LOADING && z->stderr_tail.watch.fd < 0;
    default: return false;
    }
}

/* Takes the reading end. Without a watch it is read at the end all the same. */
static void watch_stderr(struct zygote_link *z, int fds[2]) {
    if (fds[0] >= 0 && stderr_tail_open(&z->stderr_tail, fds[0], z->pid) != 0)
        LOG(LOG_WARN, "zygote_stderr_unwatched", LOG_STR("error", strerror(errno)));
    fds[0] = -1;
}

/* The owner can close the link in each of its callbacks: nothing here looks at the link afterwards. */
static void handle_report(struct zygote_link *z, const struct zygote_report *r, int fds[2]) {
    const struct zygote_exit exited = {.slot = r->slot,
                                       .pid = r->pid,
                                       .status = r->status,
                                       .oom = r->oom != 0,
                                       .max_rss_bytes = r->max_rss_bytes,
                                       .cpu_ms = r->cpu_ms};
    int socket = fds[0], stderr_fd = fds[1];
    if (!is_possible(z, r)) {
        LOG(LOG_ERROR, "zygote_protocol_error", LOG_INT("kind", r->kind), LOG_INT("pid", r->pid));
        return;
    }
    switch (r->kind) {
    case ZYGOTE_LOADED:
        move(z, LINK_LOADED);
        z->events.loaded(z->events.owner, z, socket);
        break;
    case ZYGOTE_LOADING:
        memcpy(z->loading, r->text, sizeof z->loading);
        limit_load(z);
        break;
    case ZYGOTE_LOAD_FAILED:
        move(z, LINK_FAILED);
        stderr_tail_read(&z->stderr_tail); /* the handler may have said why */
        z->events.load_failed(z->events.owner, z, r->text);
        break;
    case ZYGOTE_SPAWNED:
        fds[0] = fds[1] = -1; /* the owner takes them */
        z->events.spawned(z->events.owner, z, r->slot, r->pid, socket, stderr_fd);
        break;
    case ZYGOTE_NOT_SPAWNED: z->events.not_spawned(z->events.owner, z, r->slot, r->status); break;
    case ZYGOTE_EXITED: z->events.exited(z->events.owner, z, &exited); break;
    case ZYGOTE_STDERR: watch_stderr(z, fds); break;
    }
}

static void on_load_timer(struct timer *t) {
    struct zygote_link *z = container_of(t, struct zygote_link, load_timer);
    struct buf why = {0};
    buf_printf(&why, "%s%sit was not loaded within %.10g s (--load-timeout)", z->loading,
               z->loading[0] == '\0' ? "" : ": ", (double)z->load_limit_ns / NS_PER_S);
    if (!z->reaped)
        kill(z->pid, SIGKILL);
    move(z, LINK_FAILED);
    stderr_tail_read(&z->stderr_tail);
    z->events.load_failed(z->events.owner, z, why.failed ? "out of memory" : why.data);
    buf_deinit(&why);
}

/* Sends what waits, as far as there is room. If the socket is broken, the report of that follows: the zygote is lost. */
static void send_waiting(struct zygote_link *z) {
    size_t sent = 0;
    while (sent < z->waiting_count && wire_send_control(z->watch.fd, &z->waiting[sent], sizeof *z->waiting, NULL) == 0)
        sent++;
    if (sent > 0)
        memmove(z->waiting, z->waiting + sent, (z->waiting_count - sent) * sizeof *z->waiting);
    z->waiting_count -= sent;
    if (z->waiting_count == 0)
        loop_rewatch(z->loop, &z->watch, EPOLLIN);
}

static void on_control(struct watch *watch, uint32_t events) {
    struct zygote_link *z = container_of(watch, struct zygote_link, watch);
    struct zygote_report r;
    int fds[2];
    if ((events & EPOLLOUT) != 0 && z->waiting_count > 0)
        send_waiting(z);
    int got = wire_receive_control(z->watch.fd, &r, sizeof r, fds);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        lose(z);
        return;
    }
    r.text[sizeof r.text - 1] = '\0';
    if (r.version == WIRE_VERSION)
        handle_report(z, &r, fds);
    else
        lose(z);
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

struct zygote_link *zygote_link_open(struct loop *loop, const struct zygote_link_events *events, int socket,
                                     pid_t pid) {
    struct zygote_link *z = calloc(1, sizeof *z);
    if (z != NULL) {
        *z = (struct zygote_link){.loop = loop, .events = *events, .pid = pid, .watch = {socket, on_control}};
        z->load_timer.fire = on_load_timer;
        stderr_tail_init(&z->stderr_tail, loop, STDERR_TAIL_OF_ZYGOTE);
        fcntl(socket, F_SETFL, O_NONBLOCK);
    }
    if (z != NULL && loop_watch(loop, &z->watch, EPOLLIN) == 0)
        return z;
    int error = errno;
    close(socket);
    free(z);
    errno = error;
    return NULL;
}

void zygote_link_close(struct zygote_link *z) {
    if (z->state != LINK_LOST)
        loop_unwatch(z->loop, &z->watch);
    if (z->state == LINK_LOADING && !z->reaped)
        kill(z->pid, SIGKILL); /* it has no workers, and would see EOF only when it has loaded */
    loop_clear_timer(z->loop, &z->load_timer);
    close(z->watch.fd);
    stderr_tail_read(&z->stderr_tail);
    stderr_tail_close(&z->stderr_tail);
    free(z->waiting);
    free(z);
}

void zygote_link_limit_load(struct zygote_link *z, int64_t limit_ns) {
    z->load_limit_ns = limit_ns;
    limit_load(z);
}

const char *zygote_link_loading(const struct zygote_link *z) {
    return z->loading;
}

pid_t zygote_link_pid(const struct zygote_link *z) {
    return z->pid;
}

bool zygote_link_is_loaded(const struct zygote_link *z) {
    return z->state == LINK_LOADED;
}

static int request(struct zygote_link *z, struct zygote_request *q) {
    q->version = WIRE_VERSION;
    if (z->waiting_count == 0) {
        if (wire_send_control(z->watch.fd, q, sizeof *q, NULL) == 0)
            return 0;
        if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM)
            return -1;
    }
    if (GROW_ARRAY(&z->waiting, z->waiting_count, &z->waiting_room) != 0 ||
        (z->waiting_count == 0 && loop_rewatch(z->loop, &z->watch, EPOLLIN | EPOLLOUT) != 0))
        return -1;
    z->waiting[z->waiting_count++] = *q;
    return 0;
}

int zygote_link_spawn(struct zygote_link *z, unsigned slot, unsigned nice, uint32_t start_type) {
    struct zygote_request q = {.kind = ZYGOTE_SPAWN, .slot = slot, .nice = nice, .start_type = start_type};
    return request(z, &q);
}

int zygote_link_signal(struct zygote_link *z, pid_t pid, int signal) {
    struct zygote_request q = {.kind = ZYGOTE_SIGNAL, .pid = pid, .signal = signal};
    return request(z, &q);
}

void zygote_link_set_reaped(struct zygote_link *z, int status) {
    z->reaped = true;
    z->status = status;
}

int zygote_link_status(const struct zygote_link *z) {
    return z->status;
}

bool zygote_link_is_reaped(const struct zygote_link *z) {
    return z->reaped;
}
