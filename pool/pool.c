/* pool.c: see pool.h. Front end. The pool owns the slots and the links to the zygotes, and decides what an event of a
 * zygote means for the slots.
 *
 *     start ──► the first link is the current one: when it has loaded, all slots get a process from it
 *     reload ──► one more link. When its zygote has loaded, it is the current one. The workers of the previous zygote
 *                retire, and the link to it is closed when the last of them is dead.
 *     the current zygote is lost ──► the next one is started: at once, or after a delay if it had not loaded yet, or if
 *                several in a row died as soon as they had loaded
 *     it cannot load a handler ──► it is closed, and the next one is started after a delay
 */
#include "pool/pool.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "handlers/host/host.h"
#include "pool/child.h"
#include "pool/held_back.h"
#include "pool/life.h"
#include "pool/memory_limit.h"
#include "pool/retiring.h"
#include "pool/zygote.h"
#include "pool/zygote_link.h"
#include "pool/zygote_start.h"

#define ZYGOTE_RETRY_NS (200 * NS_PER_MS)
#define MAX_TYPES_BYTES (64u << 20) /* of a description */
#define LOAD_RETRY_NS   NS_PER_S    /* after a handler could not be loaded */
#define QUICK_DEATH_NS  NS_PER_S    /* a zygote that is lost so soon after it has loaded died at once */
#define FIRST_DELAY_NS  (20 * NS_PER_MS)
#define MAX_DELAY_NS    NS_PER_S
#define MAX_RENUMBERED  3

struct pool {
    struct slots slots; /* slots.current: one of the links, or NULL */
    int scoreboard_fd;
    void *scoreboard;           /* all of it, mapped */
    struct zygote_link **links; /* to all zygotes; usually one, more after a reload */
    size_t link_count, link_room;
    struct timer zygote_timer; /* starts a zygote */
    int64_t loaded_ns;         /* when the current zygote had loaded */
    unsigned quick_deaths;     /* zygotes that died at once, in a row */
    unsigned renumbered;       /* zygotes in a row that did not know the number of a name */
};

static int start_zygote(struct pool *p, enum zygote_birth birth);

static void begin_all(struct pool *p) {
    for (size_t i = 0; i < p->slots.count; i++)
        life_begin(&p->slots.at[i]);
}

/* ---- links to zygotes -------------------------------------------------------------------------------------------- */

static void close_link(struct pool *p, struct zygote_link *z) {
    size_t i = 0;
    while (p->links[i] != z)
        i++;
    p->links[i] = p->links[--p->link_count];
    if (p->slots.current == z)
        p->slots.current = NULL;
    zygote_link_close(z);
}

/* Closes the link to a zygote that was replaced and has no workers left. It ends by EOF, and pool_reap reaps it. */
static void close_if_unused(struct pool *p, struct zygote_link *z) {
    if (z == NULL || z == p->slots.current)
        return;
    for (size_t i = 0; i < p->slots.count; i++)
        if (p->slots.at[i].link == z)
            return;
    close_link(p, z);
}

static void on_load_failed(void *owner, struct zygote_link *z, const char *why) {
    struct pool *p = owner;
    p->slots.events.load_failed(p->slots.events.owner, why);
    if (z != p->slots.current) {
        close_if_unused(p, z); /* after a reload: the previous zygote goes on with its handlers */
        return;
    }
    close_link(p, z); /* nothing forks now, so another one tries */
    loop_set_timer(p->slots.loop, &p->zygote_timer, clock_monotonic_ns() + LOAD_RETRY_NS);
}

/* Takes the types that the zygote describes; without a descriptor it has none. 0 or HOST_RENUMBERED; or -1 with a line in
 * `error`, which is empty if memory ran out. */
static int take_types(int types, struct buf *error) {
    struct buf text = {0};
    int rc = 0;
    if (types < 0) {
        buf_puts(&text, "[]");
    } else if (sources_unseal(types, MAX_TYPES_BYTES, &text) != 0) {
        buf_puts(error, "the zygote has sent no good description of its types");
        rc = -1;
    }
    if (rc == 0)
        rc = text.failed ? -1 : host_take_described(text.data, text.size, error);
    buf_deinit(&text);
    return rc;
}

/* While the zygote loaded, the store has named a type that is not there, and the zygote gave the number of that name to
 * another one. The next zygote is told the name. False: it is not started. */
static bool start_next(struct pool *p, struct zygote_link *z, struct buf *error) {
    if (++p->renumbered <= MAX_RENUMBERED && z != p->slots.current && start_zygote(p, ZYGOTE_EXECUTED) == 0) {
        close_if_unused(p, z);
        return true;
    }
    buf_puts(error, "the numbers of the job types have changed meanwhile; try again");
    return false;
}

static void on_loaded(void *owner, struct zygote_link *z, int types) {
    struct pool *p = owner;
    struct zygote_link *before = p->slots.current;
    struct buf error = {0};
    int rc = take_types(types, &error);
    if (rc == HOST_RENUMBERED && start_next(p, z, &error))
        return;
    p->renumbered = 0;
    if (rc != 0) {
        on_load_failed(p, z, error.failed || error.size == 0 ? "out of memory" : error.data);
        buf_deinit(&error);
        return;
    }
    buf_deinit(&error);
    p->slots.current = z;
    p->loaded_ns = clock_monotonic_ns();
    for (size_t i = 0; before != z && i < p->slots.count; i++)
        if (p->slots.at[i].link == before)
            retiring_begin(&p->slots.at[i]);
    close_if_unused(p, before);
    p->slots.events.loaded(p->slots.events.owner);
    begin_all(p);
}

/* The worker in that slot, if it waits for a process of this zygote. NULL: the zygote reports nonsense. */
static struct worker *awaited(struct pool *p, const struct zygote_link *z, unsigned slot) {
    struct worker *w = slot < p->slots.count ? &p->slots.at[slot] : NULL;
    if (w != NULL && w->state == WORKER_STARTING && w->pid == 0 && w->link == z)
        return w;
    LOG(LOG_ERROR, "zygote_protocol_error", LOG_INT("worker", slot));
    return NULL;
}

static void on_spawned(void *owner, struct zygote_link *z, unsigned slot, pid_t pid, int socket, int stderr_fd) {
    struct worker *w = awaited(owner, z, slot);
    if (w != NULL) {
        life_adopt(w, pid, socket, stderr_fd);
        return;
    }
    if (socket >= 0)
        close(socket);
    if (stderr_fd >= 0)
        close(stderr_fd);
}

static void on_not_spawned(void *owner, struct zygote_link *z, unsigned slot, int error) {
    struct pool *p = owner;
    struct worker *w = awaited(p, z, slot);
    if (w == NULL)
        return;
    life_not_begun(w, error);
    close_if_unused(p, z);
}

static void on_exited(void *owner, struct zygote_link *z, const struct zygote_exit *e) {
    struct pool *p = owner;
    struct worker *w = e->slot < p->slots.count ? &p->slots.at[e->slot] : NULL;
    if (w == NULL || w->pid != e->pid || w->link != z)
        return;
    life_end(w, e->status, e->oom, e->max_rss_bytes, e->cpu_ms);
    close_if_unused(p, z);
}

/* The zygote is dead and reaped. It can have reaped a worker without a report: a worker that is not our child now is
 * gone. */
static void end_missing_workers(struct pool *p, pid_t zygote) {
    for (size_t i = 0; i < p->slots.count; i++) {
        struct worker *w = &p->slots.at[i];
        siginfo_t info;
        if (w->state != WORKER_DYING || w->link != NULL || w->zygote_pid != zygote)
            continue;
        if (waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD)
            continue;
        /* How it ended is unknown. Without tasks it most likely left as it was asked to. */
        life_end(w, w->count == 0 ? 0 : SIGKILL, false, 0, 0);
    }
}

/* It died while it ran code of others: that is why the types could not be loaded. Waits for it, which takes as long as
 * its memory is freed. */
static void tell_load_crashed(struct pool *p, const struct zygote_link *z) {
    struct buf why = {0};
    int status = zygote_link_status(z);
    if (!zygote_link_is_reaped(z))
        while (waitpid(zygote_link_pid(z), &status, 0) < 0 && errno == EINTR)
            continue;
    buf_printf(&why, "%s: the process that loaded it ", zygote_link_loading(z));
    if (WIFSIGNALED(status))
        buf_printf(&why, "was ended by SIG%s", sigabbrev_np(WTERMSIG(status)));
    else
        buf_printf(&why, "ended with exit code %d", WEXITSTATUS(status));
    p->slots.events.load_failed(p->slots.events.owner, why.failed ? "out of memory" : why.data);
    buf_deinit(&why);
}

static void on_zygote_timer(struct timer *t) {
    struct pool *p = container_of(t, struct pool, zygote_timer);
    if (start_zygote(p, ZYGOTE_EXECUTED) == 0)
        return;
    LOG(LOG_ERROR, "zygote_start_failed", LOG_STR("error", strerror(errno)));
    loop_set_timer(p->slots.loop, t, clock_monotonic_ns() + ZYGOTE_RETRY_NS);
}

/* The current zygote is lost, and had loaded. The next one is started at once, but for the second and further ones that
 * died at once: then after 20 ms, 40 ms, and so on up to a second. */
static void replace_zygote(struct pool *p) {
    int64_t now_ns = clock_monotonic_ns(), delay_ns = FIRST_DELAY_NS;
    p->quick_deaths = now_ns - p->loaded_ns < QUICK_DEATH_NS ? p->quick_deaths + 1 : 0;
    if (p->quick_deaths <= 1) {
        on_zygote_timer(&p->zygote_timer);
        return;
    }
    for (unsigned i = 2; i < p->quick_deaths && delay_ns < MAX_DELAY_NS; i++)
        delay_ns *= 2;
    delay_ns = delay_ns < MAX_DELAY_NS ? delay_ns : MAX_DELAY_NS;
    LOG(LOG_WARN, "zygote_backoff", LOG_INT("deaths", p->quick_deaths), LOG_INT("delay_ms", delay_ns / NS_PER_MS));
    loop_set_timer(p->slots.loop, &p->zygote_timer, now_ns + delay_ns);
}

static void on_lost(void *owner, struct zygote_link *z, bool was_loaded) {
    struct pool *p = owner;
    bool was_current = z == p->slots.current, was_reaped = zygote_link_is_reaped(z);
    pid_t pid = zygote_link_pid(z);
    LOG(LOG_ERROR, "zygote_lost", LOG_INT("pid", pid));
    if (!was_loaded && zygote_link_loading(z)[0] != '\0')
        tell_load_crashed(p, z);
    for (size_t i = 0; i < p->slots.count; i++)
        if (p->slots.at[i].link == z)
            life_lose_zygote(&p->slots.at[i]);
    close_link(p, z);
    if (was_reaped)
        end_missing_workers(p, pid);
    if (!was_current)
        begin_all(p); /* it had not forked all that it was asked for when another zygote took over */
    else if (was_loaded)
        replace_zygote(p);
    else
        loop_set_timer(p->slots.loop, &p->zygote_timer, clock_monotonic_ns() + ZYGOTE_RETRY_NS);
}

static int start_zygote(struct pool *p, enum zygote_birth birth) {
    const struct zygote_link_events events = {.owner = p,
                                              .loaded = on_loaded,
                                              .load_failed = on_load_failed,
                                              .spawned = on_spawned,
                                              .not_spawned = on_not_spawned,
                                              .exited = on_exited,
                                              .lost = on_lost};
    pid_t pid;
    if (GROW_ARRAY(&p->links, p->link_count, &p->link_room) != 0)
        return -1;
    int socket = zygote_start(birth, p->scoreboard_fd, &p->slots.config, &pid);
    if (socket < 0)
        return -1;
    struct zygote_link *z = zygote_link_open(p->slots.loop, &events, socket, pid);
    if (z == NULL)
        return -1; /* the zygote ends by EOF, and pool_reap reaps it */
    if (p->slots.config.sources != NULL)
        zygote_link_limit_load(z, p->slots.config.sources->load_timeout_ns);
    p->links[p->link_count++] = z;
    if (p->slots.current == NULL)
        p->slots.current = z;
    return 0;
}

/* ---- children of the front end ----------------------------------------------------------------------------------- */

static void kill_orphan(void *arg, pid_t pid) {
    const struct pool *p = arg;
    for (size_t i = 0; i < p->link_count; i++)
        if (zygote_link_pid(p->links[i]) == pid)
            return;
    if (getsid(pid) == getsid(0)) /* in a container we can be PID 1, and adopt others, too */
        kill(pid, SIGKILL);
}

/* The process is a worker whose zygote died, or a zygote; if we are PID 1, it can be any process. */
static void reap_one(struct pool *p, pid_t pid, int status, const struct rusage *u) {
    for (size_t i = 0; i < p->slots.count; i++) {
        struct worker *w = &p->slots.at[i];
        struct zygote_link *z = w->link;
        if (w->pid != pid || w->state == WORKER_EMPTY)
            continue;
        life_end(w, status, false, (uint64_t)u->ru_maxrss * 1024, death_cpu_ms(u));
        close_if_unused(p, z);
        return;
    }
    for (size_t i = 0; i < p->link_count; i++) {
        if (zygote_link_pid(p->links[i]) != pid)
            continue;
        zygote_link_set_reaped(p->links[i], status); /* on_lost does the rest when its socket is at EOF */
        return;
    }
    end_missing_workers(p, pid);
}

void pool_reap(struct pool *p) {
    int status;
    struct rusage usage;
    pid_t pid = wait4(-1, &status, WNOHANG, &usage);
    bool any = pid > 0;
    for (; pid > 0; pid = wait4(-1, &status, WNOHANG, &usage))
        reap_one(p, pid, status, &usage);
    /* What programs have left behind becomes our child when their zygote dies, because we are a subreaper. Nobody waits
     * for it any more. Workers die by themselves. */
    if (any)
        child_visit_all(kill_orphan, p);
}

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

static int open_slots(struct pool *p) {
    struct slots *s = &p->slots;
    s->count = s->config.workers + s->config.express_workers;
    s->at = calloc(s->count, sizeof *s->at);
    s->buffer = aligned_alloc(64, WIRE_MAX_DATAGRAM);
    p->scoreboard_fd = scoreboard_new((unsigned)s->count);
    if (s->at == NULL || s->buffer == NULL || p->scoreboard_fd < 0)
        return -1;
    p->scoreboard = scoreboard_map_all(p->scoreboard_fd, (unsigned)s->count);
    if (p->scoreboard == NULL)
        return -1;
    for (size_t i = 0; i < s->count; i++) {
        struct worker *w = &s->at[i];
        w->slots = s;
        w->slot = (unsigned)i;
        w->lane = i < s->config.workers ? LANE_MAIN : LANE_EXPRESS;
        w->board = scoreboard_at(p->scoreboard, w->slot);
        life_init(w);
    }
    return 0;
}

struct pool *pool_new(struct loop *loop, const struct pool_config *config, const struct pool_events *events) {
    struct pool *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->slots.loop = loop;
    p->slots.config = *config;
    if (events != NULL)
        p->slots.events = *events;
    p->zygote_timer.fire = on_zygote_timer;
    memory_limit_init(&p->slots);
    held_back_init(&p->slots);
    if (open_slots(p) == 0)
        return p;
    pool_free(p);
    return NULL;
}

void pool_set_events(struct pool *p, const struct pool_events *events) {
    p->slots.events = *events;
}

int pool_start(struct pool *p) {
    return start_zygote(p, ZYGOTE_FORKED);
}

void pool_configure(struct pool *p, const struct pool_config *config) {
    unsigned workers = p->slots.config.workers, express_workers = p->slots.config.express_workers;
    p->slots.config = *config;
    p->slots.config.workers = workers;
    p->slots.config.express_workers = express_workers;
}

int pool_reload(struct pool *p) {
    return start_zygote(p, ZYGOTE_EXECUTED);
}

void pool_free(struct pool *p) {
    struct slots *s = &p->slots;
    s->ending = true;
    while (p->link_count > 0) {
        pid_t pid = zygote_link_pid(p->links[0]);
        close_link(p, p->links[0]);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    for (size_t i = 0; s->at != NULL && i < s->count && s->at[i].slots != NULL; i++)
        life_deinit(&s->at[i]);
    loop_clear_timer(s->loop, &p->zygote_timer);
    loop_clear_timer(s->loop, &s->memory_timer);
    held_back_deinit(s);
    scoreboard_unmap_all(p->scoreboard, (unsigned)s->count);
    if (p->scoreboard_fd >= 0)
        close(p->scoreboard_fd);
    free(p->links);
    free(s->at);
    free(s->buffer);
    free(p);
}

size_t pool_size(const struct pool *p) {
    return p->slots.count;
}

uint64_t pool_counted(const struct pool *p, size_t counter) {
    uint64_t sum = 0;
    for (size_t i = 0; i < p->slots.count && counter < HOST_MAX_COUNTERS; i++)
        sum += atomic_load_explicit(&scoreboard_at(p->scoreboard, (unsigned)i)->counts[counter], memory_order_relaxed);
    return sum;
}

size_t pool_owned(const struct pool *p) {
    return p->slots.owned;
}

void pool_flush_all(struct pool *p) {
    tasks_flush_all(&p->slots);
}

struct worker *pool_worker(const struct pool *p, size_t i) {
    return &p->slots.at[i];
}
