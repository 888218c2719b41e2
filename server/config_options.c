/* config_options.c: see config_options.h. Front end, at start-up and on SIGHUP. */
#include "server/config_options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define AT(member) offsetof(struct config, member)
#define MS         NS_PER_MS
#define S          NS_PER_S
#define DAY        (86400 * NS_PER_S)
#define KIB        INT64_C(1024)
#define MIB        (1024 * KIB)
#define TIB        (INT64_C(1) << 40)

static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};       /* enum log_level */
static const char *const log_formats[] = {"text", "json", NULL};                        /* enum log_format */
static const char *const starts[] = {"auto", "fork", "spawn", NULL};                    /* enum program_start */
static const char *const precisions[] = {"auto", "bf16", "fx16", "fp32", "int8", NULL}; /* as in embed/encoder.h */
_Static_assert(LOG_ERROR == 3 && LOG_JSON == 1, "the words are in the order of the enums");
_Static_assert(PROGRAM_FORK == 1 && PROGRAM_SPAWN == 2 && sizeof(enum program_start) == sizeof(int), "likewise");
_Static_assert(sizeof(enum log_level) == sizeof(int) && sizeof(enum log_format) == sizeof(int),
               "config_set_option writes the index as an int");

static const struct config_option rows[] = {
    {"allow-shm", CONFIG_SWITCH, CONFIG_RELOADED, AT(allow_shm), .fallback = "false",
     .help = "take shared memory of clients on this machine (shm_open), by requests over a Unix socket"},
    {"allowed-host", CONFIG_LIST, CONFIG_RELOADED, AT(allowed_host), .value = "NAME",
     .help = "a name by which clients reach a loopback address, beside localhost (a reverse proxy's, say); repeatable"},
    {"cancel-grace", CONFIG_TIME, CONFIG_RELOADED, AT(cancel_grace_ns), 10 * MS, 60 * S, .fallback = "200ms",
     .help = "how long a cancelled job can take to stop by itself"},
    {"check-config", CONFIG_SWITCH, CONFIG_AT_START, AT(check_config), .fallback = "false",
     .help = "check the configuration and exit"},
    {"config", CONFIG_TEXT, CONFIG_AT_START, AT(file), .value = "FILE",
     .help = "read this file of `key = value` lines; its keys are the names of the options here"},
    {"cors-origin", CONFIG_LIST, CONFIG_RELOADED, AT(cors_origin), .value = "ORIGIN",
     .help = "let web pages of this origin, scheme://host[:port], use the service (CORS); *: those of all; repeatable"},
    {"data-dir", CONFIG_TEXT, CONFIG_AT_START, AT(data_dir), .value = "DIR",
     .decided = "$STATE_DIRECTORY, else $XDG_STATE_HOME/offload, else ~/.local/state/offload",
     .help = "keep jobs in this directory; none: nothing outlives the process"},
    {"drain-timeout", CONFIG_TIME, CONFIG_RELOADED, AT(drain_timeout_ns), 0, DAY, .fallback = "30s",
     .help = "how long running jobs can take to end after SIGTERM"},
    {"embeddings-precision", CONFIG_WORD, CONFIG_RELOADED, AT(embeddings_precision), .words = precisions,
     .fallback = "auto",
     .help =
         "how the models of --model-dir calculate: bf16, fx16, fp32, int8, or auto (bf16 on CPUs with AMX, else fx16, "
         "else fp32)"},
    {"enable-test-types", CONFIG_SWITCH, CONFIG_AT_START, AT(enable_test_types), .fallback = "false",
     .help = "offer sleep, burn, echo, collatz, crash, report, process and spawned"},
    {"exit-with-parent", CONFIG_COUNT, CONFIG_AT_START, AT(exit_with_parent), 0, INT32_MAX, .fallback = "0",
     .help = "end at once, without a drain, when this process ends, which has to be the parent; 0: no such process"},
    {"express-cost", CONFIG_TIME, CONFIG_RELOADED, AT(express_cost_ns), 0, S, .fallback = "5ms",
     .help = "jobs that are estimated to take less run on express workers"},
    {"express-workers", CONFIG_COUNT, CONFIG_AT_START, AT(express_workers), 1, 64, .fallback = "1",
     .help = "how many workers there are for plans, merges and short jobs"},
    {"header-timeout", CONFIG_TIME, CONFIG_RELOADED, AT(header_timeout_ns), 100 * MS, DAY, .fallback = "10s",
     .help = "how long a client can take to send the head of a request; of the first one, with the handshake of TLS"},
    {"help", CONFIG_SWITCH, CONFIG_AT_START, AT(show_help), .fallback = "false", .help = "print this page and exit"},
    {"idle-timeout", CONFIG_TIME, CONFIG_RELOADED, AT(idle_timeout_ns), S, DAY, .fallback = "60s",
     .help = "how long a connection can be silent before it is closed"},
    {"insecure-no-auth", CONFIG_SWITCH, CONFIG_AT_START, AT(insecure_no_auth), .fallback = "false",
     .help = "listen on addresses that others can reach, without keys"},
    {"job-timeout", CONFIG_TIME, CONFIG_RELOADED, AT(job_timeout_ns), MS, 30 * DAY, .fallback = "10m",
     .help = "how long a job can run if it has no timeout_ms"},
    {"keep-sync", CONFIG_COUNT, CONFIG_AT_START, AT(keep_sync), 0, 1000000, .fallback = "1000",
     .help = "how many jobs are remembered that were answered with their result"},
    {"key-ttl", CONFIG_TIME, CONFIG_RELOADED, AT(key_ttl_ns), S, 365 * DAY, .fallback = "24h",
     .help = "how long an Idempotency-Key is kept"},
    {"keys", CONFIG_TEXT, CONFIG_AT_START, AT(keys), .value = "FILE",
     .help = "who may call: a line for each key, as `offload keygen` prints it (docs/keys.md); SIGHUP reads it again"},
    {"listen", CONFIG_LIST, CONFIG_AT_START, AT(listen), .value = "ADDRESS", .fallback = "127.0.0.1:8080",
     .help = "listen on this address (also [::1]:8080, unix:/path, unix:/path,mode=0660,group=www); port 0 picks one; "
             "repeatable"},
    {"load-timeout", CONFIG_TIME, CONFIG_RELOADED, AT(load_timeout_ns), 100 * MS, DAY, .fallback = "60s",
     .help = "how long a plugin or a program can take to load"},
    {"log-buffer", CONFIG_SIZE, CONFIG_AT_START, AT(log_buffer), 4 * KIB, 1024 * MIB, .fallback = "1MiB",
     .help = "how many bytes of log lines can wait for their reader; beyond it lines are dropped"},
    {"log-format", CONFIG_WORD, CONFIG_AT_START, AT(log_format), .words = log_formats,
     .decided = "text on a terminal, else json", .help = "how log lines are written: text or json"},
    {"log-level", CONFIG_WORD, CONFIG_RELOADED, AT(log_level), .words = log_levels, .fallback = "info",
     .help = "lowest level that is logged: debug, info, warn or error"},
    {"max-body", CONFIG_SIZE, CONFIG_RELOADED, AT(max_body), KIB, TIB, .fallback = "64MiB",
     .help = "largest request body"},
    {"max-connections", CONFIG_COUNT, CONFIG_AT_START, AT(max_connections), 1, 1000000, .fallback = "10000",
     .help = "how many connections can be open at a time"},
    {"max-connections-per-address", CONFIG_COUNT, CONFIG_RELOADED, AT(max_connections_per_address), 0, 1000000,
     .decided = "no limit on a loopback address, else half of --max-connections",
     .help = "how many connections can be open at a time from one address (of IPv6: a /64); 0: no limit"},
    {"max-delayed", CONFIG_COUNT, CONFIG_RELOADED, AT(max_delayed), 1, 100000000, .fallback = "100000",
     .help = "how many jobs can wait for their delay_ms at a time"},
    {"max-ended", CONFIG_COUNT, CONFIG_AT_START, AT(max_ended), 0, 1000000000, .fallback = "100000",
     .help = "how many ended jobs are kept; the oldest go first; 0: no limit"},
    {"max-ended-bytes", CONFIG_SIZE, CONFIG_AT_START, AT(max_ended_bytes), 0, 1024 * TIB, .fallback = "4GiB",
     .help = "how many bytes are kept of ended jobs; the oldest go first; 0: no limit"},
    {"max-header", CONFIG_SIZE, CONFIG_AT_START, AT(max_header), KIB, MIB, .fallback = "8KiB",
     .help = "largest head of a request"},
    {"max-image-frames", CONFIG_COUNT, CONFIG_RELOADED, AT(max_image_frames), 1, 4096, .fallback = "1000",
     .help = "how many frames an image can have that moves"},
    {"max-image-pixels", CONFIG_COUNT, CONFIG_RELOADED, AT(max_image_pixels), 1, 1000000000000, .fallback = "100000000",
     .help = "how many pixels an image can have, all frames together"},
    {"max-inflate-ratio", CONFIG_COUNT, CONFIG_RELOADED, AT(max_inflate_ratio), 1, 1000000000, .fallback = "1000",
     .help = "how many times as large a compressed body can become, beyond 1MiB"},
    {"max-job-memory", CONFIG_SIZE, CONFIG_RELOADED, AT(max_job_memory), 0, TIB,
     .decided = "a quarter of --max-memory, at least 1GiB",
     .help = "resident memory at which a worker is stopped while it works; 0: no limit"},
    {"max-jobs-per-worker", CONFIG_COUNT, CONFIG_RELOADED, AT(max_jobs_per_worker), 0, INT64_MAX, .fallback = "0",
     .help = "a worker is replaced after this many tasks; 0: never"},
    {"max-json-depth", CONFIG_COUNT, CONFIG_RELOADED, AT(max_json_depth), 1, 2000, .fallback = "64",
     .help = "how deep arrays and objects can be nested in a request"},
    {"max-key-metrics", CONFIG_COUNT, CONFIG_RELOADED, AT(max_key_metrics), 0, 100000, .fallback = "100",
     .help = "how many keys have metrics of their own; the others share a row"},
    {"max-memory", CONFIG_SIZE, CONFIG_RELOADED, AT(max_memory), MIB, 1024 * TIB,
     .decided = "half of RAM, or of the cgroup's limit",
     .help = "how many bytes requests can make the service hold: bodies, jobs, results, answers, connections"},
    {"max-parts", CONFIG_COUNT, CONFIG_RELOADED, AT(max_parts), 1, 100000, .fallback = "1000",
     .help = "how many data parts a request can have"},
    {"max-queue", CONFIG_COUNT, CONFIG_RELOADED, AT(max_queue), 1, 100000000, .fallback = "100000",
     .help = "how many jobs can be queued or running at a time; those that wait for their delay_ms do not count"},
    {"max-queue-age", CONFIG_TIME, CONFIG_RELOADED, AT(max_queue_age_ns), 0, 365 * DAY, .fallback = "0s",
     .help = "no job is accepted while the oldest task has waited longer; 0: no limit"},
    {"max-requests-per-address", CONFIG_COUNT, CONFIG_RELOADED, AT(max_requests_per_address), 0, 1000000000,
     .decided = "no limit on a loopback address, else 10000",
     .help = "how many requests a second one address can send (of IPv6: a /64); 0: no limit"},
    {"max-retry-delay", CONFIG_TIME, CONFIG_RELOADED, AT(max_retry_delay_ns), MS, DAY, .fallback = "10s",
     .help = "longest backoff before a lost task runs again"},
    {"max-sync", CONFIG_COUNT, CONFIG_RELOADED, AT(max_sync), 1, 1000000, .fallback = "1000",
     .help = "how many clients can wait for a job at a time; the others are answered 202"},
    {"max-wait", CONFIG_TIME, CONFIG_RELOADED, AT(max_wait_ns), 0, DAY, .fallback = "300s",
     .help = "longest wait that a client can ask for (Prefer: wait)"},
    {"max-webhook-bytes", CONFIG_SIZE, CONFIG_RELOADED, AT(max_webhook_bytes), MIB, TIB, .fallback = "64MiB",
     .help = "how many bytes of webhooks can wait; beyond it the service gives up those that failed most often"},
    {"max-webhooks", CONFIG_COUNT, CONFIG_RELOADED, AT(max_webhooks), 1, 10000, .fallback = "100",
     .help = "how many webhooks are sent at a time"},
    {"max-worker-rss", CONFIG_SIZE, CONFIG_RELOADED, AT(max_worker_rss), 0, TIB, .fallback = "0",
     .help = "resident memory beyond which an idle worker is replaced; 0: no limit"},
    {"min-rate", CONFIG_SIZE, CONFIG_RELOADED, AT(min_rate), 0, 1024 * MIB, .fallback = "1KiB",
     .help = "bytes a second that a client has to send of a body, and to take of an answer, on the average of each "
             "--idle-timeout; 0: none"},
    {"model-dir", CONFIG_TEXT, CONFIG_RELOADED, AT(model_dir), .value = "DIR",
     .help = "embedding models: a folder for each, as sentence-transformers has them; its name is the model's"},
    {"plugin", CONFIG_LIST, CONFIG_RELOADED, AT(plugin), .value = "FILE",
     .help = "offer the job types of this plugin, a shared object (docs/plugins.md); repeatable"},
    {"plugin-dir", CONFIG_LIST, CONFIG_RELOADED, AT(plugin_dir), .value = "DIR",
     .help = "offer the job types of all plugins *.so in this directory; repeatable"},
    {"private-dir", CONFIG_TEXT, CONFIG_AT_START, AT(private_dir), .value = "DIR",
     .help = "make this directory, of mode 0700, and remove it at the end with the sockets below it"},
    {"program", CONFIG_LIST, CONFIG_RELOADED, AT(program), .value = "COMMAND",
     .help =
         "offer the job types of this program (docs/programs.md); it is split into words as by a shell; repeatable"},
    {"python", CONFIG_LIST, CONFIG_RELOADED, AT(python), .value = "FILE|MODULE[:NAME,...]",
     .help = "offer the tasks of this Python file or module, or these functions of it (docs/python.md); repeatable"},
    {"python-bin", CONFIG_TEXT, CONFIG_RELOADED, AT(python_bin), .value = "COMMAND", .fallback = "python3",
     .help = "the interpreter for --python, a virtual environment's for example"},
    {"python-start", CONFIG_WORD, CONFIG_RELOADED, AT(python_start), .words = starts, .fallback = "auto",
     .help = "how the processes of --python start: forked from one that has imported all, or executed anew; auto: "
             "forked, unless it has threads"},
    {"reload", CONFIG_SWITCH, CONFIG_RELOADED, AT(reload), .fallback = "false",
     .help = "load all job types anew when a file changes that they come from; for development"},
    {"result-ttl", CONFIG_TIME, CONFIG_RELOADED, AT(result_ttl_ns), 0, 365 * DAY, .fallback = "1h",
     .help = "how long an ended job is kept if it has no ttl_s"},
    {"retry-delay", CONFIG_TIME, CONFIG_RELOADED, AT(retry_delay_ns), 0, DAY, .fallback = "100ms",
     .help = "first backoff before a lost task runs again; it doubles each time; 0: none"},
    {"stream-buffer", CONFIG_SIZE, CONFIG_RELOADED, AT(stream_buffer), KIB, TIB, .fallback = "8MiB",
     .help = "how much of a stream can wait for its reader; beyond it the job is throttled"},
    {"sync-wait", CONFIG_TIME, CONFIG_RELOADED, AT(sync_wait_ns), 0, DAY, .fallback = "30s",
     .help = "how long a client waits for its job if it does not ask for another time"},
    {"tls-cert", CONFIG_TEXT, CONFIG_RELOADED, AT(tls_cert), .value = "FILE",
     .help =
         "speak TLS on all TCP addresses, with this certificate in PEM and those that lead to its root (docs/tls.md)"},
    {"tls-client-ca", CONFIG_TEXT, CONFIG_RELOADED, AT(tls_client_ca), .value = "FILE",
     .help = "ask clients for certificates, and take those that one of these authorities in PEM has signed"},
    {"tls-key", CONFIG_TEXT, CONFIG_RELOADED, AT(tls_key), .value = "FILE",
     .help = "the private key of --tls-cert, in PEM"},
    {"version", CONFIG_SWITCH, CONFIG_AT_START, AT(show_version), .fallback = "false",
     .help = "print the version and exit"},
    {"webhook-allow", CONFIG_LIST, CONFIG_RELOADED, AT(webhook_allow), .value = "TARGET",
     .help = "let webhooks go to this host[:port], address[:port] or network, though it is not public, also by http; "
             "repeatable"},
    {"webhook-retry", CONFIG_TIME, CONFIG_RELOADED, AT(webhook_retry_ns), MS, 3600 * S, .fallback = "5s",
     .help = "delay before the second attempt of a webhook; the later ones, up to 24 h, grow with it"},
    {"webhook-secret-file", CONFIG_TEXT, CONFIG_RELOADED, AT(webhook_secret_file), .value = "FILE",
     .help = "sign webhooks with the secrets in this file: a line each, whsec_ and base64"},
    {"webhook-timeout", CONFIG_TIME, CONFIG_RELOADED, AT(webhook_timeout_ns), 10 * MS, 3600 * S, .fallback = "20s",
     .help = "how long one attempt of a webhook can take"},
    {"worker-nice", CONFIG_COUNT, CONFIG_RELOADED, AT(worker_nice), 0, 19, .fallback = "5",
     .help =
         "is added to the nice value of workers, but not of express workers, so that the service and other programs "
         "do not wait for a CPU"},
    {"workers", CONFIG_COUNT, CONFIG_AT_START, AT(workers), 1, 4096, .decided = "the CPUs this process can use",
     .help = "how many worker processes there are"},
};
#define ROWS (sizeof rows / sizeof rows[0])

const struct config_option *config_options(size_t *count) {
    *count = ROWS;
    return rows;
}

const struct config_option *config_find_option(const char *name) {
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

void config_variable_of(const struct config_option *row, char name[CONFIG_VARIABLE_SIZE]) {
    snprintf(name, CONFIG_VARIABLE_SIZE, "OFFLOAD_%s", row->name);
    for (char *at = name; *at != '\0'; at++)
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};
static const struct unit size_units[] = {
    {"", 1}, {"KiB", KIB}, {"MiB", MIB}, {"GiB", 1024 * MIB}, {NULL, 0},
};
static const struct unit time_units[] = {
    {"ms", MS}, {"s", S}, {"m", 60 * S}, {"h", 3600 * S}, {NULL, 0},
};
static const struct unit *const units_of[] = {
    [CONFIG_COUNT] = no_units,
    [CONFIG_SIZE] = size_units,
    [CONFIG_TIME] = time_units,
};

/* A non-negative number and a unit. A time of 0 needs none. */
static bool parse_number(const char *text, const struct unit *units, double *value) {
    char *end;
    if (!isdigit((unsigned char)text[0]) || strpbrk(text, "xX") != NULL) /* strtod would read hexadecimal, too */
        return false;
    errno = 0;
    double number = strtod(text, &end);
    if (errno != 0)
        return false;
    for (; units->name != NULL; units++) {
        if (strcmp(end, units->name) == 0 || (number <= 0 && *end == '\0')) {
            *value = number * (double)units->factor;
            return true;
        }
    }
    return false;
}

static int set_number(void *field, const struct config_option *row, const char *value, struct buf *error) {
    static const char *const shapes[] = {"a whole number", "a size like 64MiB", "a time like 200ms, 30s, 5m or 1h"};
    double number;
    if (!parse_number(value, units_of[row->kind], &number) || (row->kind != CONFIG_TIME && number != floor(number))) {
        buf_printf(error, "--%s: %s is wanted, not \"%s\"", row->name, shapes[row->kind], value);
        return -1;
    }
    if (number < (double)row->min || number > (double)row->max) {
        buf_printf(error, "--%s: %s is out of range", row->name, value);
        return -1;
    }
    /* INT64_MAX as a double is larger by one, so it cannot be converted back. */
    *(int64_t *)field = number >= 9.2e18 ? row->max : (int64_t)number;
    return 0;
}

static int find_word(int *index, const char *const *words, const struct config_option *row, const char *value,
                     struct buf *error) {
    for (*index = 0; words[*index] != NULL; ++*index)
        if (strcmp(words[*index], value) == 0)
            return 0;
    buf_printf(error, "--%s: unknown value \"%s\"", row->name, value);
    return -1;
}

static int add_to_list(struct config_list *list, const struct config_option *row, const char *value, int source,
                       struct buf *error) {
    if (list->source != source)
        *list = (struct config_list){.source = source};
    if (list->count == CONFIG_MAX_LIST) {
        buf_printf(error, "--%s: at most %d values", row->name, CONFIG_MAX_LIST);
        return -1;
    }
    list->at[list->count++] = value;
    return 0;
}

int config_set_option(struct config *c, const struct config_option *row, const char *value, int source,
                      struct buf *error) {
    static const char *const truths[] = {"false", "true", NULL};
    void *field = (char *)c + row->offset;
    int word;
    switch (row->kind) {
    case CONFIG_COUNT:
    case CONFIG_SIZE:
    case CONFIG_TIME: return set_number(field, row, value, error);
    case CONFIG_SWITCH:
        if (find_word(&word, truths, row, value, error) != 0)
            return -1;
        *(bool *)field = word == 1;
        return 0;
    case CONFIG_WORD:
        if (find_word(&word, row->words, row, value, error) != 0)
            return -1;
        memcpy(field, &word, sizeof word);
        return 0;
    case CONFIG_LIST: return add_to_list(field, row, value, source, error);
    case CONFIG_TEXT: *(const char **)field = value; return 0;
    }
    return -1;
}

static size_t field_size(enum config_kind kind) {
    static const size_t sizes[] = {
        [CONFIG_COUNT] = sizeof(int64_t), [CONFIG_SIZE] = sizeof(int64_t), [CONFIG_TIME] = sizeof(int64_t),
        [CONFIG_SWITCH] = sizeof(bool),   [CONFIG_TEXT] = sizeof(char *),  [CONFIG_LIST] = sizeof(struct config_list),
        [CONFIG_WORD] = sizeof(int),
    };
    return sizes[kind];
}

static bool is_same_text(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool config_option_is_same(const struct config_option *row, const struct config *a, const struct config *b) {
    const void *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;
    if (row->kind == CONFIG_TEXT)
        return is_same_text(*(const char *const *)x, *(const char *const *)y);
    if (row->kind != CONFIG_LIST)
        return memcmp(x, y, field_size(row->kind)) == 0;
    const struct config_list *k = x, *l = y;
    bool same = k->count == l->count;
    for (unsigned i = 0; same && i < k->count; i++)
        same = is_same_text(k->at[i], l->at[i]);
    return same;
}

void config_copy_option(const struct config_option *row, struct config *to, const struct config *from) {
    memcpy((char *)to + row->offset, (const char *)from + row->offset, field_size(row->kind));
}

/* ---- for the manual ---------------------------------------------------------------------------------------------- */

/* Writes it in the largest unit that leaves no fraction. */
static void write_number(struct buf *out, const struct unit *units, int64_t number) {
    const struct unit *best = units;
    if (number == 0) {
        buf_putc(out, '0');
        return;
    }
    for (const struct unit *u = units; u->name != NULL; u++)
        if (number % u->factor == 0)
            best = u;
    buf_printf(out, "%lld%s", (long long)(number / best->factor), best->name);
}

void config_write_range(struct buf *out, const struct config_option *row) {
    if (row->kind > CONFIG_TIME)
        return;
    write_number(out, units_of[row->kind], row->min);
    if (row->max == INT64_MAX) {
        buf_puts(out, " and more");
        return;
    }
    buf_puts(out, " to ");
    write_number(out, units_of[row->kind], row->max);
}

void config_write_value(struct buf *out, const struct config_option *row) {
    static const char *const names[] = {
        [CONFIG_COUNT] = "N", [CONFIG_SIZE] = "SIZE", [CONFIG_TIME] = "TIME", [CONFIG_SWITCH] = "true|false"};
    if (row->kind == CONFIG_WORD) {
        for (size_t i = 0; row->words[i] != NULL; i++)
            buf_printf(out, "%s%s", i == 0 ? "" : "|", row->words[i]);
        return;
    }
    buf_puts(out, row->value != NULL ? row->value : names[row->kind]);
}

const char *config_default_of(const struct config_option *row) {
    return row->decided != NULL ? row->decided : row->fallback;
}

void config_print_help(FILE *to) {
    fputs("usage: offloadd [--option value | --option=value] ...\n\n"
          "Takes CPU-bound jobs over HTTP and runs them in a pool of worker processes.\n"
          "Every option is also an environment variable (--max-body: OFFLOAD_MAX_BODY) and a key of the\n"
          "--config file. Sizes take KiB, MiB, GiB; times ms, s, m, h. A switch is --name or --name=false.\n\n",
          to);
    for (size_t i = 0; i < ROWS; i++) {
        const char *fallback = config_default_of(&rows[i]);
        fprintf(to, "  --%-20s %s%s%s%s\n", rows[i].name, rows[i].help, fallback != NULL ? " [" : "",
                fallback != NULL ? fallback : "", fallback != NULL ? "]" : "");
    }
    fputs("\nSIGTERM, SIGINT: drain, then exit 0; a second one stops now. SIGHUP: reload all that can be.\n"
          "Exit status: 0 drained, 1 could not start, 2 usage or configuration.\n",
          to);
}
