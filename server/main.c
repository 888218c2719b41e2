/* main.c: offloadd: its start, its signals, its drain and its end. It connects the rooms with each other. Front end.
 * Zygotes and workers that are executed anew are the same program with another first argument (see main).
 *
 *     read configuration ──► become subreaper, block signals ──► start zygote ──► open store, listeners ──► loop
 *                                                                                                              │
 *       loaded ──► "ready"     SIGHUP ──► new zygote, limits    SIGTERM, SIGINT ──► draining ──► idle or time out ──► 0
 *                                                                        second one ───────────────► 128 + signal
 */
#include <ctype.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/closing.h"
#include "base/container.h"
#include "base/descriptors.h"
#include "base/held.h"
#include "base/log.h"
#include "base/supervisor.h"
#include "base/symbols.h"
#include "pool/worker.h"
#include "pool/zygote.h"
#include "server/api/api.h"
#include "server/config_sources.h"
#include "server/file_watch.h"

#define EXIT_COULD_NOT_START 1
#define EXIT_USAGE_ERROR     2
#define USUAL_REQUESTS       10000 /* a second from one address */
#define SPARE_DESCRIPTORS    256   /* at least, for all but connections: workers, memfds, listeners */

/* Says why the program ends, for a person to read: in one line, whatever was typed. */
static void say(const struct buf *why) {
    struct buf line = {0};
    buf_printf(&line, "offloadd: %s", why->data == NULL || why->failed ? "out of memory" : why->data);
    for (size_t i = 0; i < line.size; i++)
        line.data[i] = iscntrl((unsigned char)line.data[i]) ? '?' : line.data[i];
    log_say(line.failed ? "offloadd: out of memory" : line.data);
    buf_deinit(&line);
}

/* ---- configuration ----------------------------------------------------------------------------------------------- */

/* sources: NULL: all types are built in. */
static struct pool_config pool_config_of(const struct config *c, const struct pool_sources *sources) {
    return (struct pool_config){
        .sources = sources,
        .workers = (unsigned)c->workers,
        .express_workers = (unsigned)c->express_workers,
        .cancel_grace_ns = c->cancel_grace_ns,
        .max_job_memory = (uint64_t)c->max_job_memory,
        .max_jobs_per_worker = (uint64_t)c->max_jobs_per_worker,
        .worker_nice = (unsigned)c->worker_nice,
        .max_worker_rss = (uint64_t)c->max_worker_rss,
        .test_types = c->enable_test_types,
    };
}

static struct jobs_config jobs_config_of(const struct config *c) {
    return (struct jobs_config){
        .job_timeout_ns = c->job_timeout_ns,
        .result_ttl_ms = c->result_ttl_ns / NS_PER_MS,
        .express_cost_ns = c->express_cost_ns,
        .retry_delay_ns = c->retry_delay_ns,
        .max_retry_delay_ns = c->max_retry_delay_ns,
        .max_queue_age_ns = c->max_queue_age_ns,
        .max_queue = (uint64_t)c->max_queue,
        .max_delayed = (uint64_t)c->max_delayed,
        .keep_sync = (uint64_t)c->keep_sync,
        .max_json_depth = (unsigned)c->max_json_depth,
        .persistent = !config_is_in_memory(c),
    };
}

_Static_assert(CONFIG_MAX_LIST <= HTTP_MAX_LISTENERS, "http takes all that --listen can name");

static int64_t max_descriptors(void) {
    struct rlimit files;
    bool known = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur <= INT64_MAX / 2;
    return known ? (int64_t)files.rlim_cur : INT64_MAX / 2;
}

/* What connections leave to others. Jobs need descriptors too: one for each large part. */
static int64_t spare_descriptors(void) {
    int64_t room = max_descriptors(), spare = room / 4 > SPARE_DESCRIPTORS ? room / 4 : SPARE_DESCRIPTORS;
    return room > 2 * spare ? spare : room / 2;
}

/* --max-connections, or fewer if there are not enough descriptors, or if idle ones alone would take most of
 * --max-memory. */
static int64_t connections_that_fit(const struct config *c) {
    int64_t room = max_descriptors() - spare_descriptors();
    bool tls = c->tls_cert != NULL && c->tls_cert[0] != '\0';
    int64_t by_memory = c->max_memory / 4 * 3 / (int64_t)http_connection_bytes((uint64_t)c->max_header, tls);
    room = by_memory < room ? by_memory : room;
    return c->max_connections < room ? c->max_connections : room;
}

/* Raises the limit of descriptors as far as it goes (RLIMIT_NOFILE). Warns if that or the memory is not enough for
 * --max-connections. */
static void raise_descriptors(const struct config *c) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    /* So jobs have half of the spare ones when there are as many connections as can be, and else nearly all. */
    descriptors_reserve_from(max_descriptors() - spare_descriptors() / 2);
    int64_t fitting = connections_that_fit(c);
    if (fitting < c->max_connections)
        LOG(LOG_WARN, "connections_limited", LOG_INT("max_connections", fitting), LOG_INT("wanted", c->max_connections),
            LOG_INT("descriptors", max_descriptors()), LOG_INT("max_memory", c->max_memory));
}

static struct access_config access_config_of(const struct config *c) {
    return (struct access_config){.keys_file = c->keys,
                                  .takes_certificates = c->tls_client_ca != NULL && c->tls_client_ca[0] != '\0'};
}

static bool asks_who_calls(const struct config *c) {
    struct access_config access = access_config_of(c);
    return access.keys_file != NULL || access.takes_certificates;
}

/* A limit of an address that was set holds for all listeners, else that of `fallback`. */
static struct http_address_limits address_limits_of(const struct config *c, struct http_address_limits fallback) {
    if (c->max_connections_per_address != CONFIG_UNSET)
        fallback.connections = (uint64_t)c->max_connections_per_address;
    if (c->max_requests_per_address != CONFIG_UNSET)
        fallback.requests = (uint64_t)c->max_requests_per_address;
    return fallback;
}

/* How clients say who they are, for the log. */
static const char *access_kind(const struct config *c) {
    struct access_config access = access_config_of(c);
    return access.keys_file != NULL && access.takes_certificates ? "keys and certificates"
           : access.keys_file != NULL                            ? "keys"
           : access.takes_certificates                           ? "certificates"
                                                                 : "everybody";
}

static struct http_config http_config_of(const struct config *c) {
    const struct http_address_limits none = {0}, usual = {(uint64_t)(connections_that_fit(c) + 1) / 2, USUAL_REQUESTS};
    return (struct http_config){
        .listen = c->listen.at,
        .listen_count = c->listen.count,
        .tls_cert = c->tls_cert,
        .tls_key = c->tls_key,
        .tls_client_ca = c->tls_client_ca,
        .any_address = c->insecure_no_auth || asks_who_calls(c),
        .any_host = asks_who_calls(c),
        .max_body = (uint64_t)c->max_body,
        .max_parts = (uint64_t)c->max_parts,
        .max_connections = (uint64_t)connections_that_fit(c),
        .loopback_limits = address_limits_of(c, none),
        .address_limits = address_limits_of(c, usual),
        .max_header = (uint64_t)c->max_header,
        .header_timeout_ns = c->header_timeout_ns,
        .idle_timeout_ns = c->idle_timeout_ns,
        .min_rate = (uint64_t)c->min_rate,
        .allowed_hosts = c->allowed_host.at,
        .allowed_host_count = c->allowed_host.count,
    };
}

static struct webhooks_config webhooks_config_of(const struct config *c) {
    return (struct webhooks_config){
        .secret_file = c->webhook_secret_file,
        .allow = c->webhook_allow.at,
        .allow_count = c->webhook_allow.count,
        .timeout_ns = c->webhook_timeout_ns,
        .retry_ns = c->webhook_retry_ns,
        .max_running = (unsigned)c->max_webhooks,
        .max_bytes = (uint64_t)c->max_webhook_bytes,
    };
}

/* NULL if there are none: then the zygote is not told of any. */
static const struct pool_sources *used_sources(const struct pool_sources *sources) {
    return sources->plugin_count + sources->program_count > 0 ? sources : NULL;
}

static void configure_pool(struct server *s, const struct pool_sources *sources) {
    struct pool_config pc = pool_config_of(&s->config, used_sources(sources));
    pool_configure(s->pool, &pc);
}

static void tell_supervisor(const char *state) {
    if (supervisor_tell(state) < 0)
        LOG(LOG_WARN, "supervisor_not_told", LOG_STR("state", state), LOG_STR("error", strerror(errno)));
}

/* ---- readiness --------------------------------------------------------------------------------------------------- */

static void tell_ready(struct server *s) {
    struct buf addresses = {0};
    http_addresses(s->http, &addresses);
    LOG(LOG_INFO, "ready", LOG_STR("version", OFFLOAD_VERSION), LOG_INT("pid", getpid()),
        LOG_RAW("listen", addresses.data), LOG_INT("workers", s->config.workers),
        LOG_STR("workers_why", s->config.workers_why), LOG_INT("express_workers", s->config.express_workers),
        LOG_STR("data_dir", s->config.data_dir), LOG_STR("access", access_kind(&s->config)),
        LOG_INT("max_memory", s->config.max_memory));
    buf_deinit(&addresses);
    tell_supervisor("READY=1");
    symbols_let_go();
}

static void reload(struct server *s);
static int export_options(const struct config *c);

static void on_file_changed(void *arg) {
    struct server *s = arg;
    LOG(LOG_INFO, "source_changed");
    if (!s->draining)
        reload(s);
}

static void watch_file(struct server *s, const char *path) {
    if (file_watch_add(s->file_watch, path) != 0)
        LOG(LOG_WARN, "source_not_watched", LOG_STR("file", path), LOG_STR("error", strerror(errno)));
}

/* With --reload: watches the files that the types come from, as far as they are known. */
static void watch_sources(struct server *s) {
    file_watch_free(s->file_watch);
    s->file_watch = NULL;
    if (!s->config.reload)
        return;
    s->file_watch = file_watch_new(s->loop, on_file_changed, s);
    if (s->file_watch == NULL) {
        LOG(LOG_WARN, "source_not_watched", LOG_STR("error", strerror(errno)));
        return;
    }
    for (size_t i = 0; i < s->sources[0].plugin_count; i++)
        watch_file(s, s->sources[0].plugins[i]);
    for (size_t i = 0; i < host_count(); i++) {
        const struct host_type *t = host_type(i);
        for (size_t k = 0; t != NULL && t->files != NULL && t->files[k] != NULL; k++)
            watch_file(s, t->files[k]);
    }
}

/* The sources of the reload under way take the place of those before, or are dropped. */
static void end_reload(struct server *s, bool loaded) {
    if (!s->reloading)
        return;
    s->reloading = false;
    if (loaded) {
        struct pool_sources sources = s->sources[0];
        struct arena memory = s->sources_memory[0];
        s->sources[0] = s->sources[1];
        s->sources_memory[0] = s->sources_memory[1];
        s->sources[1] = sources;
        s->sources_memory[1] = memory;
    }
    configure_pool(s, &s->sources[0]);
    arena_deinit(&s->sources_memory[1]);
}

static void on_loaded(void *arg) {
    struct server *s = arg;
    bool first = !s->handlers_loaded;
    s->handlers_loaded = true;
    end_reload(s, true);
    buf_deinit(&s->types_fault);
    host_find_models();
    watch_sources(s);
    if (!first)
        LOG(LOG_INFO, "handlers_loaded");
    else if (s->http != NULL)
        tell_ready(s);
    else
        loop_stop(s->loop); /* of wait_for_types */
}

static void on_load_failed(void *arg, const char *why) {
    struct server *s = arg;
    if (s->handlers_loaded) { /* a reload, or a new zygote in place of one that died */
        LOG(LOG_ERROR, "handler_load_failed", LOG_STR("why", why));
        end_reload(s, false);
        buf_clear(&s->types_fault);
        buf_puts(&s->types_fault, why);
        return;
    }
    struct buf line = {0};
    buf_puts(&line, why);
    say(&line);
    buf_deinit(&line);
    s->exit_status = used_sources(&s->sources[0]) != NULL ? EXIT_USAGE_ERROR : EXIT_COULD_NOT_START;
    loop_stop(s->loop);
}

static void on_pong(void *arg, struct worker *w) {
    health_pong(((struct server *)arg)->health, w);
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static void finish_if_drained(struct server *s) {
    if (!s->draining || !jobs_are_drained(s->jobs) || http_busy(s->http) || webhooks_active(s->webhooks) > 0)
        return;
    LOG(LOG_INFO, "drained", LOG_INT("left_in_store", jobs_live(s->jobs)));
    loop_stop(s->loop);
}

static void on_drain_timeout(struct timer *t) {
    struct server *s = container_of(t, struct server, drain_timer);
    LOG(LOG_WARN, "drain_timeout", LOG_INT("jobs", jobs_live(s->jobs)), LOG_INT("running", jobs_running(s->jobs)));
    loop_stop(s->loop);
}

static void drain(struct server *s, int signal) {
    if (s->jobs == NULL) { /* the types are being loaded, and nobody was told that it is ready */
        LOG(LOG_INFO, "stopped", LOG_STR("signal", signal_name(signal)));
        s->draining = true;
        loop_stop(s->loop);
        return;
    }
    if (s->draining) {
        LOG(LOG_WARN, "stopped", LOG_STR("signal", signal_name(signal)), LOG_INT("jobs", jobs_live(s->jobs)));
        s->exit_status = 128 + signal;
        loop_stop(s->loop);
        return;
    }
    s->draining = true;
    jobs_drain(s->jobs);
    http_close_after_answer(s->http);
    tell_supervisor("STOPPING=1");
    LOG(LOG_INFO, "drain", LOG_STR("signal", signal_name(signal)), LOG_INT("jobs", jobs_live(s->jobs)),
        LOG_INT("running", jobs_running(s->jobs)));
    loop_set_timer(s->loop, &s->drain_timer, clock_monotonic_ns() + s->config.drain_timeout_ns);
    http_wake_streams(s->http); /* so that streams of events end now */
}

/* Reads the configuration again and replaces the workers. The table of options says what a reload takes. */
static void reload(struct server *s) {
    struct config next;
    struct buf error = {0}, ignored = {0};
    if (s->jobs == NULL) { /* the first time that the types are loaded */
        LOG(LOG_WARN, "reload_failed", LOG_STR("error", "the job types are being loaded"));
        return;
    }
    end_reload(s, false); /* this one takes the place of one that is under way */
    if (config_read(&next, s->argc, s->argv, &error) != 0 ||
        config_sources(&next, &s->sources[1], &s->sources_memory[1], &error) != 0) {
        LOG(LOG_ERROR, "reload_failed", LOG_STR("error", error.data));
        buf_deinit(&error);
        arena_deinit(&s->sources_memory[1]);
        return;
    }
    struct http_config tls = http_config_of(&next);
    if (http_reload_tls(s->http, &tls, &error) != 0) {
        LOG(LOG_ERROR, "reload_failed",
            LOG_STR("error", error.size > 0 && !error.failed ? error.data : "out of memory"));
        buf_deinit(&error);
        arena_deinit(&s->sources_memory[1]);
        return;
    }
    config_take_reload(&s->config, &next, &ignored);
    if (export_options(&s->config) != 0)
        LOG(LOG_WARN, "options_not_exported", LOG_STR("error", strerror(errno)));
    if (ignored.size > 0)
        LOG(LOG_WARN, "reload_ignored", LOG_STR("options", ignored.data));
    buf_deinit(&ignored);
    log_threshold = s->config.log_level;
    held_set_limit((uint64_t)s->config.max_memory);
    struct jobs_config jc = jobs_config_of(&s->config);
    struct http_config hc = http_config_of(&s->config);
    struct access_config ac = access_config_of(&s->config);
    struct webhooks_config wc = webhooks_config_of(&s->config);
    if (access_configure(s->access, &ac, &error) != 0) { /* the file has changed since config_read checked it */
        LOG(LOG_ERROR, "reload_failed", LOG_STR("error", error.data));
        buf_clear(&error);
    }
    if (webhooks_configure(s->webhooks, &wc, &error) !=
        0) /* the file of secrets has changed since config_read checked it */
        LOG(LOG_ERROR, "reload_failed", LOG_STR("error", error.data));
    buf_deinit(&error);
    s->reloading = true;
    configure_pool(s, &s->sources[1]);
    jobs_configure(s->jobs, &jc);
    http_configure(s->http, &hc);
    if (pool_reload(s->pool) != 0)
        LOG(LOG_ERROR, "reload_failed", LOG_STR("error", strerror(errno)));
    else
        LOG(LOG_INFO, "reload");
}

static void on_signal(struct watch *w, uint32_t events) {
    struct server *s = container_of(w, struct server, signal_watch);
    struct signalfd_siginfo info;
    (void)events;
    while (read(w->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            pool_reap(s->pool);
        else if (info.ssi_signo == SIGHUP)
            reload(s);
        else
            drain(s, (int)info.ssi_signo);
    }
}

/* The process that we are there for is gone. Nobody waits for what runs. */
static void on_parent_gone(struct watch *w, uint32_t events) {
    struct server *s = container_of(w, struct server, parent_watch);
    (void)events;
    LOG(LOG_INFO, "parent_gone");
    s->draining = true; /* even if the types are being loaded: no fault is reported */
    loop_unwatch(s->loop, w);
    loop_stop(s->loop);
}

/* --exit-with-parent. PR_SET_PDEATHSIG would not do: it comes when the parent's thread ends that has started us. */
static int watch_parent(struct server *s, struct buf *error) {
    pid_t parent = (pid_t)s->config.exit_with_parent;
    s->parent_watch = (struct watch){-1, on_parent_gone};
    if (parent == 0)
        return 0;
    s->parent_watch.fd = pidfd_open(parent, 0);
    if (s->parent_watch.fd < 0 && errno != ESRCH)
        return -1;
    if (getppid() == parent) /* else its pid can be another process's by now */
        return loop_watch(s->loop, &s->parent_watch, EPOLLIN);
    buf_printf(error, "--exit-with-parent: the process %lld is not the parent", (long long)parent);
    return -1;
}

static int watch_signals(struct server *s) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its size limit is treated like a full disk */
    s->signal_watch = (struct watch){signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), on_signal};
    s->drain_timer.fire = on_drain_timeout;
    return s->signal_watch.fd < 0 ? -1 : loop_watch(s->loop, &s->signal_watch, EPOLLIN);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static int64_t turn(void *arg) {
    struct server *s = arg;
    int64_t sleep_ns = http_turn(s->http);
    jobs_dispatch(s->jobs);
    finish_if_drained(s);
    return sleep_ns;
}

static struct store *open_store(const struct server *s, struct buf *error) {
    const struct config *c = &s->config;
    struct store_limits limits = {(uint64_t)c->max_ended, (uint64_t)c->max_ended_bytes};
    if (config_is_in_memory(c))
        return store_memory_open(&limits, true);
    return store_sqlite_open(s->loop, c->data_dir, &limits, error);
}

/* From the jobs to the webhooks: the two rooms do not know each other. */
static int check_webhook(void *arg, const char *url, struct buf *detail) {
    return webhooks_check(arg, url, detail);
}

static bool send_webhook(void *arg, const struct delivery *d) {
    return webhooks_send(arg, d);
}

/* From the jobs to the keys, likewise. */
static unsigned weight_of_tenant(void *arg, const char *name) {
    return access_weight(arg, name);
}

static void charge_tenant(void *arg, const char *name, int64_t cpu_ns) {
    access_charge_cpu(arg, name, cpu_ns, clock_monotonic_ns());
}

static int open_jobs(struct server *s, struct buf *error) {
    struct jobs_config jc = jobs_config_of(&s->config);
    struct store *remembered =
        store_memory_open(&(struct store_limits){.max_ended = (uint64_t)s->config.keep_sync}, false);
    s->store = open_store(s, error);
    if (s->store == NULL || remembered == NULL) {
        if (remembered != NULL)
            remembered->ops->close(remembered);
        return -1;
    }
    s->idempotency = idempotency_new(s->store);
    s->jobs = jobs_new(s->loop, &jc, &s->metrics, s->store, remembered);
    struct webhooks_config wc = webhooks_config_of(&s->config);
    s->webhooks = webhooks_new(s->loop, &wc, s->store, error);
    if (s->jobs == NULL || s->idempotency == NULL || s->webhooks == NULL)
        return -1;
    jobs_set_webhooks(s->jobs, &(struct jobs_webhooks){s->webhooks, check_webhook, webhook_body, send_webhook});
    jobs_set_tenants(s->jobs, &(struct jobs_tenants){s->access, weight_of_tenant, charge_tenant});
    struct pool_events events = jobs_pool_events(s->jobs);
    events.owner = s;
    events.loaded = on_loaded;
    events.load_failed = on_load_failed;
    events.pong = on_pong;
    pool_set_events(s->pool, &events);
    if (jobs_set_pool(s->jobs, s->pool) != 0)
        return -1;
    s->health = health_new(s->loop, s->pool);
    return s->health == NULL ? -1 : jobs_recover(s->jobs);
}

/* The options of the handlers, which know nothing of ours, go into the environment of the zygote. 0, or -1 with errno. */
static int export_options(const struct config *c) {
    char pixels[24], frames[24];
    const struct {
        const char *name, *value;
    } options[] = {
        {"HANDLER_MAX_IMAGE_PIXELS", pixels},
        {"HANDLER_MAX_IMAGE_FRAMES", frames},
        {"HANDLER_MODEL_DIR", c->model_dir == NULL ? "" : c->model_dir},
        {"HANDLER_EMBEDDINGS_PRECISION", config_find_option("embeddings-precision")->words[c->embeddings_precision]}};
    snprintf(pixels, sizeof pixels, "%lld", (long long)c->max_image_pixels);
    snprintf(frames, sizeof frames, "%lld", (long long)c->max_image_frames);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        const char *before = getenv(options[i].name);
        if ((before == NULL || strcmp(before, options[i].value) != 0) &&
            setenv(options[i].name, options[i].value, 1) != 0)
            return -1;
    }
    return 0;
}

static int start_pool(struct server *s, struct buf *error) {
    struct pool_config pc = pool_config_of(&s->config, used_sources(&s->sources[0]));
    s->pool = pool_new(s->loop, &pc, NULL);
    if (s->pool == NULL || export_options(&s->config) != 0)
        return -1;
    if (pool_start(s->pool) == 0)
        return 0;
    buf_printf(error, "could not start the zygote: %s", strerror(errno));
    return -1;
}

static int64_t wait_turn(void *arg) {
    (void)arg;
    return -1;
}

/* Which types there are must be known before jobs are taken or read from the store. 0; or -1 if they cannot be loaded,
 * which was said, or if a signal came. */
static int wait_for_types(struct server *s) {
    const struct pool_events events = {.owner = s, .loaded = on_loaded, .load_failed = on_load_failed};
    if (used_sources(&s->sources[0]) == NULL)
        return 0;
    pool_set_events(s->pool, &events);
    loop_run(s->loop, wait_turn, s);
    return s->handlers_loaded ? 0 : -1;
}

/* --private-dir. It can be there already, if nobody else has a say about it. */
static int make_private_dir(struct config *c, struct buf *error) {
    struct stat st;
    if (c->private_dir == NULL || mkdir(c->private_dir, 0700) == 0)
        return 0;
    if (errno != EEXIST)
        buf_printf(error, "--private-dir %s: %s", c->private_dir, strerror(errno));
    else if (lstat(c->private_dir, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
             (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        buf_printf(error, "--private-dir %s: it is there, and is not a directory of mode 0700 of ours", c->private_dir);
    else
        return 0;
    c->private_dir = NULL; /* so nothing in it is removed */
    return -1;
}

static int open_access(struct server *s, struct buf *error) {
    struct access_config ac = access_config_of(&s->config);
    s->access = access_new();
    return s->access == NULL ? -1 : access_configure(s->access, &ac, error);
}

/* The zygote is started first, before there are threads: it is forked, and it loads the handlers while the front end
 * opens all else. 0, or -1 with one line in `error`. */
static int open_server(struct server *s, struct buf *error) {
    struct http_events he = routes_events(s);
    s->loop = loop_new();
    if (s->loop == NULL || watch_signals(s) != 0 || watch_parent(s, error) != 0 ||
        make_private_dir(&s->config, error) != 0 || start_pool(s, error) != 0 ||
        log_start((size_t)s->config.log_buffer) != 0 || closing_start() != 0 || routes_init(s) != 0 ||
        open_access(s, error) != 0 || wait_for_types(s) != 0 || open_jobs(s, error) != 0) {
        if (error->size == 0 && s->exit_status == 0 && !s->draining)
            buf_printf(error, "could not start: %s", strerror(errno));
        return -1;
    }
    struct http_config hc = http_config_of(&s->config);
    hc.spool_directory = s->store->ops->spool(s->store);
    bool misconfigured = false;
    s->http = http_open(s->loop, &hc, &he, error, &misconfigured);
    if (s->http == NULL) {
        s->exit_status = misconfigured ? EXIT_USAGE_ERROR : EXIT_COULD_NOT_START;
        return -1;
    }
    if (s->handlers_loaded)
        tell_ready(s);
    return 0;
}

static void close_server(struct server *s) {
    if (s->http != NULL)
        http_close(s->http);
    if (s->health != NULL)
        health_free(s->health);
    if (s->jobs != NULL)
        jobs_set_webhooks(s->jobs, &(struct jobs_webhooks){0});
    if (s->webhooks != NULL)
        webhooks_free(s->webhooks);
    if (s->jobs != NULL)
        jobs_free(s->jobs);           /* before the pool, because tasks point to workers */
    idempotency_free(s->idempotency); /* after the store, which can answer while it is closed */
    if (s->pool != NULL)
        pool_free(s->pool);
    access_free(s->access);
    file_watch_free(s->file_watch);
    routes_free(s);
    if (s->loop != NULL)
        loop_free(s->loop);
    if (s->parent_watch.fd >= 0)
        close(s->parent_watch.fd);
    closing_stop();
    held_check_empty();
}

/* Of a tree of directories, only the sockets and what is empty then. */
static int remove_if_private(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)at;
    if (S_ISSOCK(st->st_mode))
        unlink(path);
    else if (kind == FTW_DP)
        rmdir(path);
    return 0;
}

/* In it are also those of services that our programs have started, and that were killed with them. */
static void remove_private_dir(const struct config *c) {
    if (c->private_dir != NULL)
        nftw(c->private_dir, remove_if_private, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static int run(struct server *s) {
    struct buf error = {0};
    log_threshold = s->config.log_level;
    log_style = s->config.log_format;
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* the workers of a zygote that died become our children */
    held_set_limit((uint64_t)s->config.max_memory);
    raise_descriptors(&s->config);
    host_init(s->config.enable_test_types);
    if (open_server(s, &error) != 0) {
        if (error.size > 0)
            say(&error);
        s->exit_status = s->exit_status == 0 && !s->draining ? EXIT_COULD_NOT_START : s->exit_status;
    } else {
        loop_run(s->loop, turn, s);
    }
    buf_deinit(&error);
    close_server(s);
    remove_private_dir(&s->config);
    for (int i = 0; i < 2; i++)
        arena_deinit(&s->sources_memory[i]);
    buf_deinit(&s->types_fault);
    log_stop();
    return s->exit_status;
}

/* --check-config: finds what config_read cannot know, and a start would find. Opens, makes and removes nothing. */
static int check_config(const struct config *c) {
    struct buf error = {0};
    struct http_config hc = http_config_of(c);
    struct pool_sources sources;
    struct arena memory = {0};
    int rc = http_check_listen(&hc, &error);
    if (rc == 0)
        rc = http_check_tls(&hc, &error);
    if (rc == 0)
        rc = config_sources(c, &sources, &memory, &error);
    arena_deinit(&memory);
    if (rc == 0 && !config_is_in_memory(c))
        rc = store_sqlite_check(c->data_dir, &error);
    if (rc == 0)
        printf("the configuration is good\n");
    else
        say(&error);
    buf_deinit(&error);
    return rc == 0 ? 0 : EXIT_USAGE_ERROR;
}

int main(int argc, char **argv) {
    static struct server s;
    struct buf error = {0};
    descriptors_fill(false);
    setproctitle_init(argc, argv, environ);
    if (argc >= 2 && strcmp(argv[1], ZYGOTE_ROLE) == 0)
        return zygote_main();
    if (argc >= 2 && strcmp(argv[1], WORKER_ROLE) == 0)
        return worker_spawned_main();
    descriptors_keep_private();
    s.argc = argc;
    s.argv = argv;
    if (config_read(&s.config, argc, argv, &error) != 0 ||
        (!s.config.show_help && !s.config.show_version && !s.config.check_config &&
         config_sources(&s.config, &s.sources[0], &s.sources_memory[0], &error) != 0)) {
        say(&error);
        buf_deinit(&error);
        return EXIT_USAGE_ERROR;
    }
    if (s.config.show_help) {
        config_print_help(stdout);
    } else if (s.config.show_version) {
        printf("offloadd " OFFLOAD_VERSION "\n");
    } else if (s.config.check_config) {
        return check_config(&s.config);
    } else {
        return run(&s);
    }
    return 0;
}
