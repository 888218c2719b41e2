/* config.c: see config.h. Front end, at start-up and on SIGHUP. Each source gives pairs of a row and a
 * value to config_set_option. The source that wins is read last. */
#include "server/config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/textfile.h"
#include "base/web_origin.h"
#include "pool/cgroup.h"
#include "server/access/access.h"
#include "server/webhooks/webhooks.h"

#define LEAST_JOB_MEMORY ((int64_t)1 << 30)

enum source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_FLAGS };

/* --config is read before all other options, and cannot be in the file that it names. */
static bool names_file(const struct config_option *row) {
    return row->offset == offsetof(struct config, file);
}

/* ---- sources ----------------------------------------------------------------------------------------------------- */

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

static struct kept *all_kept;

/* A copy that lives as long as the process; NULL: memory ran out. A reload mostly finds its strings here already. */
static const char *keep(const char *value) {
    size_t size = strlen(value) + 1;
    for (const struct kept *k = all_kept; k != NULL; k = k->next)
        if (strcmp(k->text, value) == 0)
            return k->text;
    struct kept *k = malloc(sizeof *k + size);
    if (k == NULL)
        return NULL;
    memcpy(k->text, value, size);
    k->next = all_kept;
    all_kept = k;
    return k->text;
}

void config_forget(void) {
    while (all_kept != NULL) {
        struct kept *k = all_kept;
        all_kept = k->next;
        free(k);
    }
}

static int read_line(struct config *c, char *line, struct buf *error) {
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
    const struct config_option *row = config_find_option(line);
    if (row == NULL || names_file(row)) {
        buf_printf(error, "unknown key \"%s\"", line);
        return -1;
    }
    const char *kept = keep(value);
    return kept == NULL ? -1 : config_set_option(c, row, kept, SOURCE_FILE, error);
}

static int read_file(struct config *c, const char *path, struct buf *error) {
    struct buf text = {0}, why = {0};
    int rc = textfile_read(&text, path, &why), number = 0;
    if (rc != 0)
        buf_printf(error, "--config %s: %s", path, why.data == NULL ? "out of memory" : why.data);
    char *rest = text.size > 0 ? text.data : NULL;
    while (rc == 0 && rest != NULL) {
        char *line = strsep(&rest, "\n");
        number++;
        rc = read_line(c, line, &why);
        if (rc != 0)
            buf_printf(error, "%s line %d: %s", path, number, why.data == NULL ? "out of memory" : why.data);
    }
    buf_deinit(&why);
    buf_deinit(&text);
    return rc;
}

/* NULL: it is not set. An empty variable is as if it were not: so compose files and unit files write it. */
static const char *variable(const struct config_option *row) {
    char name[CONFIG_VARIABLE_SIZE];
    config_variable_of(row, name);
    const char *value = getenv(name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

static int read_environment(struct config *c, struct buf *error) {
    size_t count;
    const struct config_option *rows = config_options(&count);
    for (size_t i = 0; i < count; i++) {
        const char *value = variable(&rows[i]);
        if (value == NULL || names_file(&rows[i]))
            continue;
        if (config_set_option(c, &rows[i], value, SOURCE_ENVIRONMENT, error) != 0) {
            buf_puts(error, " (from the environment)");
            return -1;
        }
    }
    return 0;
}

static int usage_error(int got, char **argv, struct buf *error) {
    const char *word = argv[optind - 1];
    if (got == ':')
        buf_printf(error, "%s needs a value", word);
    else
        buf_printf(error, "unknown option %s (see --help)", word);
    return -1;
}

#define FIRST_ROW 256 /* what getopt_long returns for the first row: larger than any character */

static int take_flags(struct config *c, int argc, char **argv, const struct option *flags, bool only_file,
                      struct buf *error) {
    size_t count;
    const struct config_option *rows = config_options(&count);
    optind = 0; /* GNU getopt starts over */
    opterr = 0;
    for (int got = getopt_long(argc, argv, ":", flags, NULL); got != -1;
         got = getopt_long(argc, argv, ":", flags, NULL)) {
        if (got < FIRST_ROW)
            return usage_error(got, argv, error);
        const struct config_option *row = &rows[got - FIRST_ROW];
        if (only_file != names_file(row))
            continue;
        if (config_set_option(c, row, optarg == NULL ? "true" : optarg, SOURCE_FLAGS, error) != 0)
            return -1;
    }
    if (optind < argc) {
        buf_printf(error, "unexpected argument \"%s\"", argv[optind]);
        if (strcmp(argv[optind], "true") == 0 || strcmp(argv[optind], "false") == 0)
            buf_printf(error, ": a switch is --name or --name=%s", argv[optind]);
        return -1;
    }
    return 0;
}

/* only_file: it only looks for --config. */
static int read_flags(struct config *c, int argc, char **argv, bool only_file, struct buf *error) {
    size_t count;
    const struct config_option *rows = config_options(&count);
    struct option *flags = calloc(count + 1, sizeof *flags); /* all zero: the end */
    if (flags == NULL)
        return -1;
    for (size_t i = 0; i < count; i++)
        flags[i] = (struct option){rows[i].name, rows[i].kind == CONFIG_SWITCH ? optional_argument : required_argument,
                                   NULL, FIRST_ROW + (int)i};
    int rc = take_flags(c, argc, argv, flags, only_file, error);
    free(flags);
    return rc;
}

static int fill_defaults(struct config *c, struct buf *error) {
    size_t count;
    const struct config_option *rows = config_options(&count);
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < count; i++)
        if (rows[i].fallback != NULL && config_set_option(c, &rows[i], rows[i].fallback, SOURCE_DEFAULT, error) != 0)
            return -1;
    uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t limit = cgroup_memory_limit();
    c->max_memory = (int64_t)((limit > 0 && limit < ram ? limit : ram) / 2);
    c->max_job_memory = c->max_connections_per_address = c->max_requests_per_address = CONFIG_UNSET;
    c->workers = cgroup_default_workers(c->workers_why, sizeof c->workers_why);
    c->log_format = isatty(STDERR_FILENO) ? LOG_TEXT : LOG_JSON;
    return 0;
}

/* Under systemd the first directory of StateDirectory=; else as the XDG Base Directory Specification says. NULL: there
 * is none. */
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

/* Finds mistakes in the options of webhooks before a webhook is sent. */
static int check_webhooks(const struct config *c, struct buf *error) {
    const struct webhooks_config webhooks = {
        .secret_file = c->webhook_secret_file,
        .allow = c->webhook_allow.at,
        .allow_count = c->webhook_allow.count,
    };
    return webhooks_check_config(&webhooks, error);
}

static int check_origins(const struct config *c, struct buf *error) {
    struct web_origin origin;
    for (unsigned i = 0; i < c->cors_origin.count; i++) {
        if (strcmp(c->cors_origin.at[i], "*") == 0 || web_origin_read(&origin, c->cors_origin.at[i]))
            continue;
        buf_printf(error, "--cors-origin %s: scheme://host or scheme://host:port is wanted, or *",
                   c->cors_origin.at[i]);
        return -1;
    }
    return 0;
}

static int check_models(const struct config *c, struct buf *error) {
    if (c->model_dir == NULL || c->model_dir[0] == '\0')
        return 0;
    DIR *dir = opendir(c->model_dir);
    if (dir == NULL) {
        buf_printf(error, "--model-dir: %s: %s", c->model_dir, strerror(errno));
        return -1;
    }
    closedir(dir);
    return 0;
}

/* The file is read again when it is used; so a fault is found before anything is begun. */
static int check_access(const struct config *c, struct buf *error) {
    const char *other = c->keys != NULL ? "--keys" : c->tls_client_ca != NULL ? "--tls-client-ca" : NULL;
    if (other != NULL && c->insecure_no_auth) {
        buf_printf(error, "%s and --insecure-no-auth exclude each other: with the first one it can listen anywhere",
                   other);
        return -1;
    }
    return access_check(&(struct access_config){.keys_file = c->keys}, error);
}

int config_read(struct config *c, int argc, char **argv, struct buf *error) {
    if (fill_defaults(c, error) != 0)
        return -1;
    int64_t cpus = c->workers;
    c->file = variable(config_find_option("config"));
    if (read_flags(c, argc, argv, true, error) != 0)
        return -1;
    if (c->file != NULL && read_file(c, c->file, error) != 0)
        return -1;
    if (read_environment(c, error) != 0 || read_flags(c, argc, argv, false, error) != 0)
        return -1;
    if (c->max_job_memory == CONFIG_UNSET)
        c->max_job_memory = c->max_memory / 4 > LEAST_JOB_MEMORY ? c->max_memory / 4 : LEAST_JOB_MEMORY;
    if (c->workers != cpus)
        snprintf(c->workers_why, sizeof c->workers_why, "as configured");
    if (c->data_dir == NULL || c->data_dir[0] == '\0')
        c->data_dir = default_data_dir();
    if (c->data_dir == NULL)
        buf_puts(error,
                 "--data-dir: neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME is set; name a directory, or none");
    if (c->data_dir == NULL || check_models(c, error) != 0 || check_origins(c, error) != 0 ||
        check_access(c, error) != 0)
        return -1;
    return check_webhooks(c, error);
}

void config_take_reload(struct config *c, const struct config *next, struct buf *ignored) {
    size_t count;
    const struct config_option *rows = config_options(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].reload == CONFIG_RELOADED)
            config_copy_option(&rows[i], c, next);
        else if (!config_option_is_same(&rows[i], c, next))
            buf_printf(ignored, "%s--%s", ignored->size > 0 ? ", " : "", rows[i].name);
    }
}

bool config_is_in_memory(const struct config *c) {
    return strcmp(c->data_dir, "none") == 0;
}
