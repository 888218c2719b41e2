/* config.c: see config.h. Front end, at start-up and on SIGHUP. Each source hands (name, value) pairs to set_option;
 * precedence is the order in which the sources are read, the strongest last. */
#include "server/config.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "pool/cgroup.h"
#include "server/webhooks/webhooks.h"

extern char **environ;

enum option_kind {
    OPTION_COUNT,
    OPTION_SIZE,
    OPTION_TIME,
    OPTION_SWITCH,
    OPTION_TEXT,
    OPTION_LIST,
    OPTION_LEVEL,
    OPTION_FORMAT
};

struct option_row {
    const char *name;
    enum option_kind kind;
    size_t offset;
    int64_t min, max;     /* OPTION_COUNT, OPTION_SIZE (bytes), OPTION_TIME (ns) */
    const char *fallback; /* as text; NULL: decided at start */
    const char *help;
};

#define AT(member) offsetof(struct config, member)
#define DAY        (86400 * NS_PER_S)
#define MS         NS_PER_MS
#define TIB        (INT64_C(1) << 40)

static const struct option_row rows[] = {
    {"cancel-grace", OPTION_TIME, AT(cancel_grace_ns), 10 * MS, 60 * NS_PER_S, "200ms",
     "time a cancelled job gets to stop by itself"},
    {"check-config", OPTION_SWITCH, AT(check_config), 0, 0, "false", "check the configuration and exit"},
    {"config", OPTION_TEXT, AT(file), 0, 0, NULL, "file of `key = value` lines, keys as the options here"},
    {"data-dir", OPTION_TEXT, AT(data_dir), 0, 0, NULL,
     "where jobs are kept; $STATE_DIRECTORY, else $XDG_STATE_HOME/offload; none: nothing outlives the process"},
    {"drain-timeout", OPTION_TIME, AT(drain_timeout_ns), 0, DAY, "30s", "time for running jobs to end after SIGTERM"},
    {"enable-test-types", OPTION_SWITCH, AT(enable_test_types), 0, 0, "false",
     "offer sleep, burn, echo, crash, process and spawned"},
    {"express-cost", OPTION_TIME, AT(express_cost_ns), 0, NS_PER_S, "5ms",
     "jobs estimated below this run on express workers"},
    {"express-workers", OPTION_COUNT, AT(express_workers), 1, 64, "1", "workers for plans, merges and short jobs"},
    {"header-timeout", OPTION_TIME, AT(header_timeout_ns), 100 * MS, DAY, "10s",
     "time a client has to send its first head"},
    {"help", OPTION_SWITCH, AT(show_help), 0, 0, "false", "print this"},
    {"idle-timeout", OPTION_TIME, AT(idle_timeout_ns), NS_PER_S, DAY, "60s",
     "silence after which a connection is closed"},
    {"insecure-no-auth", OPTION_SWITCH, AT(insecure_no_auth), 0, 0, "false",
     "listen on addresses that others can reach, without keys"},
    {"job-timeout", OPTION_TIME, AT(job_timeout_ns), MS, 30 * DAY, "10m", "default run time of a job"},
    {"key-ttl", OPTION_TIME, AT(key_ttl_ns), NS_PER_S, 365 * DAY, "24h", "how long an Idempotency-Key is kept"},
    {"keep-sync", OPTION_COUNT, AT(keep_sync), 0, 1000000, "1000", "jobs answered inline that are remembered"},
    {"listen", OPTION_LIST, AT(listen), 0, 0, "127.0.0.1:8080", "repeatable; [::1]:8080, unix:/path; port 0 picks one"},
    {"log-format", OPTION_FORMAT, AT(log_format), 0, 0, NULL, "text or json; text on a terminal, json otherwise"},
    {"log-level", OPTION_LEVEL, AT(log_level), 0, 0, "info", "debug, info, warn or error"},
    {"max-body", OPTION_SIZE, AT(max_body), 1024, TIB, "64MiB", "largest request body"},
    {"max-connections", OPTION_COUNT, AT(max_connections), 1, 1000000, "10000", "connections at a time"},
    {"max-ended", OPTION_COUNT, AT(max_ended), 0, 1000000000, "100000",
     "ended jobs kept, the oldest go first; 0: no limit"},
    {"max-ended-bytes", OPTION_SIZE, AT(max_ended_bytes), 0, 1024 * TIB, "4GiB",
     "requests, results and errors kept of ended jobs; 0: no limit"},
    {"max-header", OPTION_SIZE, AT(max_header), 1024, 1 << 20, "32KiB", "largest head of a request"},
    {"max-job-memory", OPTION_SIZE, AT(max_job_memory), 0, TIB, "0",
     "resident memory of one worker at work; 0: no limit"},
    {"max-jobs-per-worker", OPTION_COUNT, AT(max_jobs_per_worker), 0, INT64_MAX, "0", "then it is recycled; 0: never"},
    {"max-json-depth", OPTION_COUNT, AT(max_json_depth), 1, 2000, "64", "nested arrays and objects"},
    {"max-memory", OPTION_SIZE, AT(max_memory), 1 << 20, 1024 * TIB, NULL,
     "bytes held for jobs and results; half of RAM or of the cgroup's limit"},
    {"max-queue", OPTION_COUNT, AT(max_queue), 1, 100000000, "100000", "jobs that have not ended"},
    {"max-queue-age", OPTION_TIME, AT(max_queue_age_ns), 0, 365 * DAY, "0s",
     "refuse jobs while the oldest has waited longer; 0: no limit"},
    {"max-retry-delay", OPTION_TIME, AT(max_retry_delay_ns), MS, DAY, "10s",
     "longest pause before lost work is tried again"},
    {"max-sync", OPTION_COUNT, AT(max_sync), 1, 1000000, "1000", "clients waiting at a time; beyond: 202"},
    {"max-wait", OPTION_TIME, AT(max_wait_ns), 0, DAY, "300s", "longest wait that Prefer can ask for"},
    {"max-webhook-bytes", OPTION_SIZE, AT(max_webhook_bytes), 1 << 20, TIB, "64MiB",
     "held for webhooks that wait; beyond it those that failed most often are given up"},
    {"max-webhooks", OPTION_COUNT, AT(max_webhooks), 1, 10000, "100", "webhooks under way at a time"},
    {"max-worker-rss", OPTION_SIZE, AT(max_worker_rss), 0, TIB, "0",
     "resident memory after which a worker is recycled"},
    {"result-ttl", OPTION_TIME, AT(result_ttl_ns), 0, 365 * DAY, "1h", "how long ended jobs are kept"},
    {"retry-delay", OPTION_TIME, AT(retry_delay_ns), 0, DAY, "100ms",
     "pause before work lost with its worker is tried again; doubled each time; 0: none"},
    {"stream-buffer", OPTION_SIZE, AT(stream_buffer), 1024, TIB, "8MiB",
     "finished items that a reader of a stream has not taken; then its job is paused"},
    {"sync-wait", OPTION_TIME, AT(sync_wait_ns), 0, DAY, "30s", "how long a client waits that did not say"},
    {"version", OPTION_SWITCH, AT(show_version), 0, 0, "false", "print the version"},
    {"webhook-allow", OPTION_LIST, AT(webhook_allow), 0, 0, NULL,
     "repeatable; host[:port], address[:port] or network that webhooks may go to, by http too, though it is not "
     "public"},
    {"webhook-retry", OPTION_TIME, AT(webhook_retry_ns), MS, 3600 * NS_PER_S, "5s",
     "wait before a webhook's second attempt; the later ones, up to 24 h, grow with it"},
    {"webhook-secret-file", OPTION_TEXT, AT(webhook_secret_file), 0, 0, NULL,
     "lines of whsec_ and base64, all of which sign webhooks; none: they are not signed"},
    {"webhook-timeout", OPTION_TIME, AT(webhook_timeout_ns), 10 * MS, 3600 * NS_PER_S, "20s",
     "time for one attempt of a webhook"},
    {"workers", OPTION_COUNT, AT(workers), 1, 4096, NULL, "worker processes; the CPUs this process may use"},
};
#define ROWS (sizeof rows / sizeof rows[0])

static const struct option_row *find_row(const char *name) {
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

/* ---- values ------------------------------------------------------------------------------------------ */

struct unit {
    const char *name;
    double factor;
};

static const struct unit size_units[] = {{"", 1}, {"KiB", 1024}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {NULL, 0}};
static const struct unit time_units[] = {{"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

/* A non-negative number and a unit. A time of 0 needs none. */
static bool parse_number(const char *text, const struct unit *units, double *value) {
    char *end;
    if (!isdigit((unsigned char)text[0]) || strpbrk(text, "xX") != NULL) /* strtod reads hex, too */
        return false;
    errno = 0;
    double number = strtod(text, &end);
    if (errno != 0)
        return false;
    for (; units->name != NULL; units++) {
        if (strcmp(end, units->name) == 0 || (number <= 0 && *end == '\0')) {
            *value = number * units->factor;
            return true;
        }
    }
    return false;
}

static int set_number(struct config *c, const struct option_row *row, const char *value, struct buf *error) {
    static const char *const shapes[] = {"a whole number", "a size like 64MiB", "a time like 200ms, 30s, 5m or 1h"};
    const struct unit *const units[] = {no_units, size_units, time_units};
    double number;
    if (!parse_number(value, units[row->kind], &number) || (row->kind != OPTION_TIME && number != floor(number))) {
        buf_printf(error, "--%s: %s is wanted, not \"%s\"", row->name, shapes[row->kind], value);
        return -1;
    }
    if (number < (double)row->min || number > (double)row->max) {
        buf_printf(error, "--%s: %s is out of range", row->name, value);
        return -1;
    }
    /* The double of INT64_MAX is one too many. */
    int64_t whole = number >= 9.2e18 ? row->max : (int64_t)number;
    memcpy((char *)c + row->offset, &whole, sizeof whole);
    return 0;
}

static int set_word(int *to, const char *const *words, const struct option_row *row, const char *value,
                    struct buf *error) {
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], value) == 0) {
            *to = i;
            return 0;
        }
    }
    buf_printf(error, "--%s: unknown value \"%s\"", row->name, value);
    return -1;
}

static int set_switch(struct config *c, const struct option_row *row, const char *value, struct buf *error) {
    static const char *const words[] = {"false", "true", NULL};
    int word;
    if (set_word(&word, words, row, value, error) != 0)
        return -1;
    bool on = word == 1;
    memcpy((char *)c + row->offset, &on, sizeof on);
    return 0;
}

static struct config_list *list_at(struct config *c, const struct option_row *row) {
    return (struct config_list *)(void *)((char *)c + row->offset);
}

static int add_to_list(struct config *c, const struct option_row *row, const char *value, struct buf *error) {
    struct config_list *list = list_at(c, row);
    if (list->count == CONFIG_MAX_LIST) {
        buf_printf(error, "--%s: at most %d of them", row->name, CONFIG_MAX_LIST);
        return -1;
    }
    list->at[list->count++] = value;
    return 0;
}

/* `value` must stay. */
static int set_option(struct config *c, const struct option_row *row, const char *value, struct buf *error) {
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    static const char *const formats[] = {"text", "json", NULL};
    int word, rc;
    switch (row->kind) {
    case OPTION_COUNT:
    case OPTION_SIZE:
    case OPTION_TIME: return set_number(c, row, value, error);
    case OPTION_SWITCH: return set_switch(c, row, value, error);
    case OPTION_LIST: return add_to_list(c, row, value, error);
    case OPTION_TEXT: memcpy((char *)c + row->offset, &value, sizeof value); return 0;
    case OPTION_LEVEL:
        rc = set_word(&word, levels, row, value, error);
        if (rc == 0)
            c->log_level = (enum log_level)word;
        return rc;
    case OPTION_FORMAT:
        rc = set_word(&word, formats, row, value, error);
        if (rc == 0)
            c->log_format = (enum log_format)word;
        return rc;
    }
    return -1;
}

/* A source that says anything of a list says all of it. `begun`: the lists that this source has begun, a bit for each row. */
static void begin_list(struct config *c, const struct option_row *row, uint64_t *begun) {
    _Static_assert(ROWS <= 64, "one bit for each option");
    uint64_t bit = UINT64_C(1) << (row - rows);
    if (row->kind == OPTION_LIST && (*begun & bit) == 0)
        list_at(c, row)->count = 0;
    *begun |= bit;
}

/* ---- sources ------------------------------------------------------------------------------------------- */

static void trim(char **start) {
    while (isspace((unsigned char)**start))
        (*start)++;
    size_t n = strlen(*start);
    while (n > 0 && isspace((unsigned char)(*start)[n - 1]))
        (*start)[--n] = '\0';
}

struct kept {
    struct kept *next;
    char text[];
};

/* A copy that lives as long as the process. A reload mostly finds its strings there already. */
static const char *keep(const char *value) {
    static struct kept *all;
    size_t size = strlen(value) + 1;
    for (const struct kept *k = all; k != NULL; k = k->next)
        if (strcmp(k->text, value) == 0)
            return k->text;
    struct kept *k = malloc(sizeof *k + size);
    if (k == NULL)
        return NULL;
    memcpy(k->text, value, size);
    k->next = all;
    all = k;
    return k->text;
}

static int read_line(struct config *c, char *line, uint64_t *begun, struct buf *error) {
    trim(&line);
    if (*line == '\0' || *line == '#')
        return 0;
    char *value = strchr(line, '=');
    if (value == NULL) {
        buf_printf(error, "`key = value` is wanted, not \"%s\"", line);
        return -1;
    }
    *value++ = '\0';
    trim(&line);
    trim(&value);
    const struct option_row *row = find_row(line);
    if (row == NULL || row->offset == AT(file)) {
        buf_printf(error, "unknown key \"%s\"", line);
        return -1;
    }
    begin_list(c, row, begun);
    const char *kept = keep(value);
    return kept == NULL ? -1 : set_option(c, row, kept, error);
}

static int read_file(struct config *c, const char *path, struct buf *error) {
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    int rc = 0, number = 0;
    uint64_t begun = 0;
    if (f == NULL) {
        buf_printf(error, "--config %s: %s", path, strerror(errno));
        return -1;
    }
    while (rc == 0 && getline(&line, &size, f) >= 0) {
        struct buf why = {0};
        number++;
        rc = read_line(c, line, &begun, &why);
        if (rc != 0)
            buf_printf(error, "%s line %d: %s", path, number, why.data == NULL ? "out of memory" : why.data);
        buf_deinit(&why);
    }
    free(line);
    fclose(f);
    return rc;
}

/* "OFFLOAD_MAX_BODY" of "max-body". */
static void variable_name(const char *option, char *name, size_t size) {
    snprintf(name, size, "OFFLOAD_%s", option);
    for (char *at = name; *at != '\0'; at++)
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
}

static const char *variable(const char *option) {
    char name[64];
    variable_name(option, name, sizeof name);
    return getenv(name);
}

static int read_environment(struct config *c, struct buf *error) {
    uint64_t begun = 0;
    for (size_t i = 0; i < ROWS; i++) {
        const char *value = variable(rows[i].name);
        if (value == NULL || rows[i].offset == AT(file))
            continue;
        begin_list(c, &rows[i], &begun);
        if (set_option(c, &rows[i], value, error) != 0) {
            buf_puts(error, " (from the environment)");
            return -1;
        }
    }
    return 0;
}

static void fill_long_options(struct option *to) {
    for (size_t i = 0; i < ROWS; i++)
        to[i] = (struct option){rows[i].name, rows[i].kind == OPTION_SWITCH ? optional_argument : required_argument,
                                NULL, (int)i + 256};
    to[ROWS] = (struct option){NULL, 0, NULL, 0};
}

static int usage_error(int got, char **argv, struct buf *error) {
    const char *word = argv[optind - 1];
    if (got == ':')
        buf_printf(error, "%s needs a value", word);
    else
        buf_printf(error, "unknown option %s (see --help)", word);
    return -1;
}

/* With `only_file` it looks for --config alone. */
static int read_flags(struct config *c, int argc, char **argv, bool only_file, struct buf *error) {
    struct option options[ROWS + 1];
    uint64_t begun = 0;
    fill_long_options(options);
    optind = 0; /* start over, also in GNU's own state */
    opterr = 0;
    for (int got = getopt_long(argc, argv, ":", options, NULL); got != -1;
         got = getopt_long(argc, argv, ":", options, NULL)) {
        if (got < 256)
            return usage_error(got, argv, error);
        const struct option_row *row = &rows[got - 256];
        if (only_file != (row->offset == AT(file)))
            continue;
        begin_list(c, row, &begun);
        if (set_option(c, row, optarg == NULL ? "true" : optarg, error) != 0)
            return -1;
    }
    if (optind < argc) {
        buf_printf(error, "unexpected argument \"%s\"", argv[optind]);
        return -1;
    }
    return 0;
}

static int fill_defaults(struct config *c, struct buf *error) {
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].fallback != NULL && set_option(c, &rows[i], rows[i].fallback, error) != 0)
            return -1;
    uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t limit = cgroup_memory_limit();
    c->max_memory = (int64_t)((limit > 0 && limit < ram ? limit : ram) / 2);
    c->workers = cgroup_default_workers(c->workers_why, sizeof c->workers_why);
    c->log_format = isatty(STDERR_FILENO) ? LOG_TEXT : LOG_JSON;
    return 0;
}

/* Under systemd the first of its StateDirectory=; else by the XDG Base Directory Specification. NULL: nowhere. */
static const char *default_data_dir(void) {
    const char *state = getenv("STATE_DIRECTORY"), *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char path[4096];
    if (state != NULL && state[0] != '\0')
        snprintf(path, sizeof path, "%.*s", (int)strcspn(state, ":"), state);
    else if (xdg != NULL && xdg[0] == '/')
        snprintf(path, sizeof path, "%s/offload", xdg);
    else if (home != NULL && home[0] == '/')
        snprintf(path, sizeof path, "%s/.local/state/offload", home);
    else
        return NULL;
    return keep(path);
}

/* What can be found wrong before it is used. */
static int check_webhooks(const struct config *c, struct buf *error) {
    const struct webhooks_config webhooks = {
        .secret_file = c->webhook_secret_file,
        .allow = c->webhook_allow.at,
        .allow_count = c->webhook_allow.count,
    };
    return webhooks_check_config(&webhooks, error);
}

int config_read(struct config *c, int argc, char **argv, struct buf *error) {
    if (fill_defaults(c, error) != 0)
        return -1;
    int64_t cpus = c->workers;
    c->file = variable("config");
    if (read_flags(c, argc, argv, true, error) != 0)
        return -1;
    if (c->file != NULL && read_file(c, c->file, error) != 0)
        return -1;
    if (read_environment(c, error) != 0 || read_flags(c, argc, argv, false, error) != 0)
        return -1;
    if (c->workers != cpus)
        snprintf(c->workers_why, sizeof c->workers_why, "as configured");
    if (c->data_dir == NULL || c->data_dir[0] == '\0')
        c->data_dir = default_data_dir();
    if (c->data_dir == NULL)
        buf_puts(error,
                 "--data-dir: neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME is set; name a directory, or none");
    return c->data_dir == NULL ? -1 : check_webhooks(c, error);
}

bool config_is_in_memory(const struct config *c) {
    return strcmp(c->data_dir, "none") == 0;
}

void config_print_help(void) {
    printf("usage: offloadd [--option value | --option=value] ...\n\n"
           "Takes CPU-bound jobs over HTTP and runs them in a pool of worker processes.\n"
           "Every option is also an environment variable (--max-body: OFFLOAD_MAX_BODY) and a key of the\n"
           "--config file. Sizes take KiB, MiB, GiB; times ms, s, m, h; switches true, false.\n\n");
    for (size_t i = 0; i < ROWS; i++)
        printf("  --%-20s %s%s%s%s\n", rows[i].name, rows[i].help, rows[i].fallback ? " [" : "",
               rows[i].fallback ? rows[i].fallback : "", rows[i].fallback ? "]" : "");
    printf("\nSIGTERM, SIGINT: drain, then exit 0; a second one stops now. SIGHUP: reload limits and handlers.\n"
           "Exit status: 0 drained, 1 could not start, 2 usage or configuration.\n");
}
