/* options.h: the options of the command line, in one table: what they take, what they mean, and which member of a job's
 * "options" they become. */
#ifndef OFFLOAD_CLI_OPTIONS_H
#define OFFLOAD_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attributes.h"
#include "base/buf.h"

enum option_id {
    OPTION_PARAMS,
    OPTION_COLUMNS,
    OPTION_DATA,
    OPTION_PRIORITY,
    OPTION_TIMEOUT,
    OPTION_QUEUE_TIMEOUT,
    OPTION_MAX_ATTEMPTS,
    OPTION_TTL,
    OPTION_CHUNKS,
    OPTION_DELAY,
    OPTION_ISOLATION,
    OPTION_WEBHOOK,
    OPTION_KEY,
    OPTION_JOB,
    OPTION_LOG,
    OPTION_FOLLOW,
    OPTION_RESULT,
    OPTION_OUTPUT,
    OPTION_STATUS,
    OPTION_TYPE,
    OPTION_LIMIT,
    OPTION_READY,
    OPTION_VERBOSE,
    OPTION_LOAD_TIMEOUT,
    OPTION_SCOPES,
    OPTION_JOBS,
    OPTION_RATE,
    OPTION_CPU,
    OPTION_BYTES,
    OPTION_WEIGHT,
    OPTION_RETRIES,
    OPTION_URL,
    OPTION_KEY_FILE,
    OPTION_CA,
    OPTION_CERT,
    OPTION_CERT_KEY,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_COUNT
};

/* A set of options: OPTION_BIT(a) | OPTION_BIT(b). */
#define OPTION_BIT(id) (UINT64_C(1) << (id))
_Static_assert(OPTION_COUNT <= 64, "a set of options is a uint64_t");
#define OPTIONS_OF_JOB                                                                                                 \
    (OPTION_BIT(OPTION_PARAMS) | OPTION_BIT(OPTION_DATA) | OPTION_BIT(OPTION_PRIORITY) | OPTION_BIT(OPTION_TIMEOUT) |  \
     OPTION_BIT(OPTION_QUEUE_TIMEOUT) | OPTION_BIT(OPTION_MAX_ATTEMPTS) | OPTION_BIT(OPTION_TTL) |                     \
     OPTION_BIT(OPTION_CHUNKS) | OPTION_BIT(OPTION_DELAY) | OPTION_BIT(OPTION_ISOLATION) |                             \
     OPTION_BIT(OPTION_WEBHOOK) | OPTION_BIT(OPTION_KEY))
/* Of all commands that talk to the service. */
#define OPTIONS_OF_SERVICE                                                                                             \
    (OPTION_BIT(OPTION_URL) | OPTION_BIT(OPTION_RETRIES) | OPTION_BIT(OPTION_KEY_FILE) | OPTION_BIT(OPTION_CA) |       \
     OPTION_BIT(OPTION_CERT) | OPTION_BIT(OPTION_CERT_KEY))
#define OPTIONS_OF_ALL (OPTION_BIT(OPTION_HELP) | OPTION_BIT(OPTION_VERSION))

enum option_kind { KIND_SWITCH, KIND_TEXT, KIND_COUNT, KIND_MS, KIND_SECONDS };

#define OPTION_REPEAT_MAX 256 /* how often --params and --data can stand */

/* An option is one row; --help and the manual page are made from it. */
struct option_row {
    const char *name;
    enum option_kind kind;
    const char *value;  /* as the help page shows it; NULL: the option takes none */
    const char *member; /* of a job's "options", or NULL */
    const char *help;
    char letter; /* its short form, or NUL */
};

struct options {
    const char *text[OPTION_COUNT]; /* as given, borrowed from argv; "" for a switch; NULL: not given */
    int64_t number[OPTION_COUNT];   /* a count, or a time in ms; valid if the option was given and takes a number */
    /* Each --params and each --data, in their order; text has the last one. */
    const char *params[OPTION_REPEAT_MAX], *data[OPTION_REPEAT_MAX];
    size_t params_count, data_count;
};

const struct option_row *options_row(enum option_id id);

/* Reads all options, wherever they are in argv, and moves the other arguments to its end. Returns the index of the
 * first of those, or -1 after a line on stderr. */
MUST_CHECK int options_parse(struct options *o, int argc, char **argv);
static inline bool options_given(const struct options *o, enum option_id id) {
    return o->text[id] != NULL;
}
/* The number of an option, or `fallback` if it was not given. */
int64_t options_number(const struct options *o, enum option_id id, int64_t fallback);
/* False, after a line on stderr, if an option outside the set was given. */
bool options_allowed(const struct options *o, uint64_t set, const char *command);
/* Appends "name":value, with commas between, for each option that was given and is a member of a job's "options". */
void options_write_job(const struct options *o, struct buf *json);
void options_help(FILE *to);

#endif
