/* worker_view.c: see worker_view.h. Front end. */
#include "pool/worker_view.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pool/slot.h"

const char *worker_activity_name(enum worker_activity a) {
    static const char *const names[WORKER_ACTIVITIES] = {"starting", "idle", "busy"};
    return names[a];
}

const char *lane_name(enum lane lane) {
    return lane == LANE_MAIN ? "main" : "express";
}

struct worker_view worker_look(const struct worker *w) {
    return (struct worker_view){
        .pid = w->pid,
        .lane = w->lane,
        .activity = !worker_is_up(w) ? WORKER_IS_STARTING
                    : w->count == 0  ? WORKER_IS_IDLE
                                     : WORKER_IS_BUSY,
        .type = w->type,
        .tasks = w->answered,
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

bool worker_takes_tasks(const struct worker *w) {
    uint64_t limit = w->slots->config.max_jobs_per_worker;
    return w->state == WORKER_READY && !w->is_slow && w->count < WIRE_MAX_IN_FLIGHT &&
           (limit == 0 || w->answered + w->count < limit);
}

bool worker_can_send(const struct worker *w) {
    return w->backlog_count == 0;
}

bool worker_is_up(const struct worker *w) {
    return w->state == WORKER_READY || w->state == WORKER_RETIRING;
}

bool worker_is_unused(const struct worker *w) {
    return w->state == WORKER_READY && w->type == NO_TYPE;
}

int64_t worker_ready_ns(const struct worker *w) {
    return w->ready_ns;
}

int64_t worker_start_took_ns(const struct worker *w) {
    return w->ready_ns - w->asked_ns;
}

bool worker_is_changing(const struct worker *w) {
    return !worker_is_up(w) && w->handover != HANDOVER_NONE;
}

void *worker_owner(const struct worker *w) {
    return w->owner;
}

uint32_t worker_start_type(const struct worker *w) {
    return w->start_type;
}

/* ---- /proc ------------------------------------------------------------------------------------------------------- */

/* The file of that name as text; "" if it cannot be read. */
static void read_proc(pid_t pid, const char *name, char *text, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
}

static uint64_t process_rss(pid_t pid) {
    char text[128];
    unsigned long long total, resident;
    read_proc(pid, "statm", text, sizeof text);
    return sscanf(text, "%llu %llu", &total, &resident) == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

uint64_t worker_rss(const struct worker *w) {
    if (w->pid <= 0)
        return 0;
    uint64_t rss = process_rss(w->pid);
    for (unsigned i = 0; i < PROGRAMS_MAX; i++) {
        pid_t program = atomic_load_explicit(&w->board->programs[i], memory_order_relaxed);
        rss += program > 0 ? process_rss(program) : 0;
    }
    return rss;
}

bool worker_is_stopped(const struct worker *w) {
    char text[256];
    read_proc(w->pid, "stat", text, sizeof text);
    const char *state = strrchr(text, ')'); /* the program's name before it can hold any character */
    return state != NULL && state[1] == ' ' && (state[2] == 'T' || state[2] == 't');
}
