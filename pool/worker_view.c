/* worker_view.c: what the front end sees of a worker without asking it: its stderr, of which the last words are kept and
 * every line is logged, and its entry in /proc. Front end. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/container.h"
#include "base/log.h"
#include "pool/pool_private.h"

/* ---- stderr --------------------------------------------------------------------------------------------------------- */

void pool_close_stderr(struct worker *w) {
    if (w->stderr_watch.fd < 0)
        return;
    loop_unwatch(w->pool->loop, &w->stderr_watch);
    close(w->stderr_watch.fd);
    w->stderr_watch.fd = -1;
}

static void keep_tail(struct worker *w, const char *bytes, size_t size) {
    const size_t room = sizeof w->stderr_tail - 1;
    if (size > room) {
        bytes += size - room;
        size = room;
    }
    size_t drop = w->stderr_size + size > room ? w->stderr_size + size - room : 0;
    memmove(w->stderr_tail, w->stderr_tail + drop, w->stderr_size - drop);
    w->stderr_size -= drop;
    w->stderr_line -= drop < w->stderr_line ? drop : w->stderr_line;
    for (size_t i = 0; i < size; i++) /* a NUL would hide what follows */
        w->stderr_tail[w->stderr_size + i] = bytes[i] == '\0' ? ' ' : bytes[i];
    w->stderr_size += size;
    w->stderr_tail[w->stderr_size] = '\0';
}

/* Logs the complete lines that were not logged yet. */
static void log_lines(struct worker *w) {
    for (;;) {
        char *line = w->stderr_tail + w->stderr_line;
        char *end = strchr(line, '\n');
        if (end == NULL)
            return;
        *end = '\0';
        LOG(LOG_WARN, "worker_stderr", LOG_INT("worker", w->slot), LOG_INT("pid", w->pid), LOG_STR("line", line));
        *end = '\n';
        w->stderr_line = (size_t)(end + 1 - w->stderr_tail);
    }
}

void pool_read_stderr(struct worker *w) {
    char bytes[1024];
    for (int turn = 0; turn < 16 && w->stderr_watch.fd >= 0; turn++) {
        ssize_t n = read(w->stderr_watch.fd, bytes, sizeof bytes);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            pool_close_stderr(w);
            return;
        }
        keep_tail(w, bytes, (size_t)n);
        log_lines(w);
    }
}

static void on_stderr(struct watch *watch, uint32_t events) {
    (void)events;
    pool_read_stderr(container_of(watch, struct worker, stderr_watch));
}

int pool_watch_stderr(struct worker *w, int fd) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    w->stderr_size = w->stderr_line = 0;
    w->stderr_tail[0] = '\0';
    w->stderr_watch = (struct watch){fd, on_stderr};
    return loop_watch(w->pool->loop, &w->stderr_watch, EPOLLIN);
}

/* ---- /proc ----------------------------------------------------------------------------------------------------------- */

static uint64_t statm_pages(pid_t pid) {
    char path[64], text[128];
    unsigned long long total, resident;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return sscanf(text, "%llu %llu", &total, &resident) == 2 ? resident : 0;
}

uint64_t worker_rss(const struct worker *w) {
    return w->pid <= 0 ? 0 : statm_pages(w->pid) * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool worker_is_stopped(const struct worker *w) {
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)w->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    const char *state = strrchr(text, ')'); /* the name before it may hold anything */
    return state != NULL && state[1] == ' ' && (state[2] == 'T' || state[2] == 't');
}

/* ---- what others may know of a worker --------------------------------------------------------------------------- */

const char *worker_activity_name(enum worker_activity a) {
    static const char *const names[WORKER_ACTIVITIES] = {"starting", "idle", "busy"};
    return names[a];
}

const char *lane_name(enum lane lane) {
    return lane == LANE_MAIN ? "main" : "express";
}

bool worker_is_up(const struct worker *w) {
    return w->state == WORKER_READY || w->state == WORKER_RETIRING;
}

bool worker_is_changing(const struct worker *w) {
    return !worker_is_up(w) && (w->replaced || w->exit_requested);
}

struct worker_view worker_look(const struct worker *w) {
    return (struct worker_view){
        .pid = w->pid,
        .lane = w->lane,
        .activity = !worker_is_up(w) ? WORKER_IS_STARTING
                    : w->count == 0  ? WORKER_IS_IDLE
                                     : WORKER_IS_BUSY,
        .type = w->type,
        .tasks = w->tasks,
        .started_wall_ms = w->started_wall_ms,
    };
}

unsigned worker_slot(const struct worker *w) {
    return w->slot;
}

enum lane worker_lane(const struct worker *w) {
    return w->lane;
}

unsigned worker_in_flight(const struct worker *w) {
    return w->count;
}

bool worker_has_long_task(const struct worker *w) {
    return w->long_tasks > 0;
}

void *worker_owner(const struct worker *w) {
    return w->isolated_for;
}

uint32_t worker_start_type(const struct worker *w) {
    return w->start_type;
}

int64_t worker_ready_ns(const struct worker *w) {
    return w->ready_ns;
}

int64_t worker_start_took_ns(const struct worker *w) {
    return w->ready_ns - w->asked_ns;
}
