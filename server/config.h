/* config.h: the configuration of offloadd, read from flags, environment and file, in that order of precedence. What
 * options there are says the table in config_options.c. Front end, at start-up and on SIGHUP. */
#ifndef OFFLOAD_CONFIG_H
#define OFFLOAD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "base/log.h"

#define CONFIG_MAX_LIST 16

/* Of an option that may be repeated. */
struct config_list {
    const char *at[CONFIG_MAX_LIST];
    unsigned count;
    int source; /* where they are from: one that says anything of a list says all of it */
};

/* The fields of the options, in the order of their subjects. */
struct config {
    struct config_list listen; /* "127.0.0.1:8080", "[::1]:8080", "unix:/path" */
    bool insecure_no_auth;

    int64_t workers, express_workers;
    char workers_why[128]; /* why that many, for the log; not an option */
    int64_t express_cost_ns;

    int64_t sync_wait_ns, max_wait_ns, max_sync, keep_sync;
    int64_t max_body, max_queue, max_memory, max_connections, max_json_depth, max_header;
    int64_t max_queue_age_ns, stream_buffer;
    int64_t header_timeout_ns, idle_timeout_ns;
    int64_t retry_delay_ns, max_retry_delay_ns;
    int64_t result_ttl_ns, job_timeout_ns, cancel_grace_ns, drain_timeout_ns;
    int64_t max_jobs_per_worker, max_worker_rss, max_job_memory;

    const char *webhook_secret_file;  /* NULL: webhooks are not signed */
    struct config_list webhook_allow; /* hosts and networks */
    int64_t webhook_timeout_ns, webhook_retry_ns, max_webhooks, max_webhook_bytes;

    const char *data_dir; /* "none": nothing outlives the process */
    int64_t max_ended, max_ended_bytes, key_ttl_ns;
    enum log_level log_level;
    enum log_format log_format;
    bool enable_test_types, check_config, show_version, show_help;
    const char *file; /* --config */
};

/* Fills in defaults, then reads the file, the environment and the flags. 0, or -1 with one clear line in `error`, empty
 * if memory ran out. The strings in *c live as long as the process. */
MUST_CHECK int config_read(struct config *c, int argc, char **argv, struct buf *error);

/* Copies from `fresh`, which was read again, what a reload takes. Appends to `ignored` the flags of those options that
 * have changed all the same, with a comma and a space between: "--listen, --workers". */
void config_take_reload(struct config *c, const struct config *fresh, struct buf *ignored);

bool config_is_in_memory(const struct config *c);

#endif
