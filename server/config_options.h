/* config_options.h: struct config, and the table of offloadd's options, one for each field. A row is all that is known
 * of an option: its flag, its environment variable and its key in the file are made from its name; --help, the manual
 * page and docs/options.md are made from the rest. To add an option, add the row in config_options.c and the field
 * here.
 *
 * Front end, at start-up and on SIGHUP. The program that writes the manual uses it too (tools/manual_offloadd.c). */
#ifndef OFFLOAD_CONFIG_OPTIONS_H
#define OFFLOAD_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "base/log.h"
#include "pool/sources.h"

#define CONFIG_MAX_LIST 16
#define CONFIG_UNSET    (-1) /* of a number: no source has set it, and its default follows from something else */

/* The values of an option that can be repeated. */
struct config_list {
    const char *at[CONFIG_MAX_LIST];
    unsigned count;
    int source; /* all values come from this one source; see config_set_option */
};

/* The values of the options, by subject. Times are in ns (_ns); sizes, as in max_body, in bytes. */
struct config {
    struct config_list listen; /* "127.0.0.1:8080", "[::1]:8080", "unix:/path,mode=0660,group=www" */
    bool insecure_no_auth;
    const char *keys; /* the keys file; NULL: there is none */
    int64_t max_key_metrics;
    const char *tls_cert, *tls_key, *tls_client_ca; /* files; NULL: none */

    int64_t workers, express_workers, worker_nice;
    char workers_why[128]; /* why that many, for the log; not an option */
    int64_t express_cost_ns;

    int64_t sync_wait_ns, max_wait_ns, max_sync, keep_sync;
    int64_t max_connections_per_address, max_requests_per_address; /* CONFIG_UNSET: they depend on the listener */
    int64_t max_body, max_queue, max_memory, max_connections, max_json_depth, max_header;
    bool allow_shm;
    int64_t max_parts, max_inflate_ratio, max_image_pixels, max_image_frames;
    int64_t max_delayed, max_queue_age_ns, stream_buffer;
    int64_t header_timeout_ns, idle_timeout_ns, min_rate; /* min_rate: bytes a second */
    int64_t retry_delay_ns, max_retry_delay_ns;
    int64_t result_ttl_ns, job_timeout_ns, cancel_grace_ns, drain_timeout_ns;
    int64_t max_jobs_per_worker, max_worker_rss, max_job_memory;

    struct config_list plugin, plugin_dir; /* files, directories */
    struct config_list program, python;    /* commands; FILE or MODULE, and :NAME,... */
    const char *python_bin;
    enum program_start python_start;
    const char *model_dir;    /* folders of embedding models; NULL: hash-384 is the only one */
    int embeddings_precision; /* index into the words of the option */
    int64_t load_timeout_ns;
    bool reload; /* when a source changes */

    const char *webhook_secret_file;  /* NULL: webhooks are not signed */
    struct config_list webhook_allow; /* hosts and networks */
    struct config_list allowed_host;  /* names */
    struct config_list cors_origin;   /* "scheme://host[:port]" or "*" */
    int64_t webhook_timeout_ns, webhook_retry_ns, max_webhooks, max_webhook_bytes;

    int64_t exit_with_parent; /* its pid; 0: none */
    const char *private_dir;  /* NULL: there is none */

    const char *data_dir; /* "none": nothing outlives the process */
    int64_t max_ended, max_ended_bytes, key_ttl_ns;
    enum log_level log_level;
    enum log_format log_format;
    int64_t log_buffer;
    bool enable_test_types, check_config, show_version, show_help;
    const char *file; /* --config; NULL: there is none */
};

/* What a value looks like, and the type of the field that takes it. */
enum config_kind {
    CONFIG_COUNT,  /* int64_t */
    CONFIG_SIZE,   /* int64_t, bytes */
    CONFIG_TIME,   /* int64_t, ns */
    CONFIG_SWITCH, /* bool */
    CONFIG_TEXT,   /* const char * */
    CONFIG_LIST,   /* struct config_list: the option can be repeated */
    CONFIG_WORD,   /* an enum whose values are the indexes of `words` */
};

enum config_reload {
    CONFIG_AT_START, /* SIGHUP does not take it; a change waits for the next start */
    CONFIG_RELOADED  /* SIGHUP takes it */
};

struct config_option {
    const char *name; /* "max-body": --max-body, OFFLOAD_MAX_BODY, and the key max-body */
    enum config_kind kind;
    enum config_reload reload;
    size_t offset;            /* of the field in struct config */
    int64_t min, max;         /* of CONFIG_COUNT, CONFIG_SIZE and CONFIG_TIME; both bounds are allowed */
    const char *const *words; /* of CONFIG_WORD; the last is NULL */
    const char *value;        /* of CONFIG_TEXT and CONFIG_LIST: what the manual calls the value */
    const char *fallback;     /* the default, as text; NULL: there is none, or it is decided at start */
    const char *decided;      /* how the default is decided at start, in words; NULL: it is not */
    const char *help;
};

const struct config_option *config_options(size_t *count);
/* The row of that name, or NULL. */
const struct config_option *config_find_option(const char *name);

#define CONFIG_VARIABLE_SIZE 64
/* "OFFLOAD_MAX_BODY" of "max-body". */
void config_variable_of(const struct config_option *row, char name[CONFIG_VARIABLE_SIZE]);

/* Reads a value into the field. `source` is any number that names where the value comes from: a value of a list is
 * added to the values from the same source, and replaces those from another one. `value` has to outlive *c. 0, or -1
 * with one line in `error`. */
MUST_CHECK int config_set_option(struct config *c, const struct config_option *row, const char *value, int source,
                                 struct buf *error);
/* True if both have the same value. */
bool config_option_is_same(const struct config_option *row, const struct config *a, const struct config *b);
void config_copy_option(const struct config_option *row, struct config *to, const struct config *from);

/* Appends what the manual calls the value: "SIZE", "text|json". */
void config_write_value(struct buf *out, const struct config_option *row);
/* Appends the range, "10ms to 1m"; nothing if the option has none. */
void config_write_range(struct buf *out, const struct config_option *row);
/* The default in words; NULL: there is none. */
const char *config_default_of(const struct config_option *row);
/* Writes the page of --help. */
void config_print_help(FILE *to);

#endif
