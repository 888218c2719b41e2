/* options.c: see options.h. Process: the client. getopt_long(3) reads the options; its table is made from ours. */
#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/say.h"

static const struct option_row rows[OPTION_COUNT] = {
    [OPTION_PARAMS] = {"params", KIND_TEXT, "JSON|@FILE", NULL,
                       "all parameters at once, in place of KEY=VALUE; for check-program: TYPE=JSON, repeatable"},
    [OPTION_COLUMNS] = {"columns", KIND_TEXT, "JSON|@FILE", NULL,
                        "a list of values for each parameter, in place of FILE"},
    [OPTION_DATA] = {"data", KIND_TEXT, "FILE", NULL,
                     "a file to send as it is, for a parameter of bytes; - is stdin; repeatable"},
    [OPTION_PRIORITY] = {"priority", KIND_COUNT, "0..7", "priority", "0 is the most urgent; default 3"},
    [OPTION_TIMEOUT] = {"timeout", KIND_MS, "TIME", "timeout_ms",
                        "limit of the run time; for health (default 2s) and check-program (30s): of an answer"},
    [OPTION_QUEUE_TIMEOUT] = {"queue-timeout", KIND_MS, "TIME", "queue_timeout_ms",
                              "fail if it has not started after this time"},
    [OPTION_MAX_ATTEMPTS] = {"max-attempts", KIND_COUNT, "N", "max_attempts",
                             "how often to try a chunk whose worker is lost"},
    [OPTION_TTL] = {"ttl", KIND_SECONDS, "TIME", "ttl_s", "how long the ended job is kept"},
    [OPTION_CHUNKS] = {"chunks", KIND_COUNT, "N", "chunks", "how many chunks; default: the service decides"},
    [OPTION_DELAY] = {"delay", KIND_MS, "TIME", "delay_ms", "start no earlier than this from now"},
    [OPTION_ISOLATION] = {"isolation", KIND_TEXT, "pool|fresh", "isolation", "fresh: a new process for this job alone"},
    [OPTION_WEBHOOK] = {"webhook", KIND_TEXT, "URL", "webhook", "gets a POST when the job has ended"},
    [OPTION_KEY] = {"key", KIND_TEXT, "TEXT", NULL, "Idempotency-Key: the same key gives the same job"},
    [OPTION_JOB] = {"job", KIND_SWITCH, NULL, NULL, "print the whole job, not only its result"},
    [OPTION_LOG] = {"log", KIND_SWITCH, NULL, NULL, "print what the job's processes print, on stderr"},
    [OPTION_FOLLOW] = {"follow", KIND_SWITCH, NULL, NULL, "go on until the job ends"},
    [OPTION_RESULT] = {"result", KIND_SWITCH, NULL, NULL, "print the result, not the job"},
    [OPTION_OUTPUT] = {"output", KIND_TEXT, "FILE", NULL, "write the result to FILE, not to stdout; also -o FILE", 'o'},
    [OPTION_STATUS] = {"status", KIND_TEXT, "STATUS", NULL,
                       "only jobs queued, running, succeeded, failed or cancelled"},
    [OPTION_TYPE] = {"type", KIND_TEXT, "TYPE", NULL, "only jobs of this type"},
    [OPTION_LIMIT] = {"limit", KIND_COUNT, "N", NULL, "print at most N jobs; default 100"},
    [OPTION_READY] = {"ready", KIND_SWITCH, NULL, NULL, "ask whether it can work, not only whether it answers"},
    [OPTION_VERBOSE] = {"verbose", KIND_SWITCH, NULL, NULL, "print each check"},
    [OPTION_LOAD_TIMEOUT] = {"load-timeout", KIND_MS, "TIME", NULL,
                             "how long a program may take until it says hello; default 60s"},
    [OPTION_SCOPES] = {"scopes", KIND_TEXT, "LIST", NULL,
                       "what the key may do: submit, read, admin, with commas; default submit,read"},
    [OPTION_JOBS] = {"jobs", KIND_COUNT, "N", NULL, "how many jobs of the key can be queued or run at a time"},
    [OPTION_RATE] = {"rate", KIND_TEXT, "N/s", NULL, "how many requests it can make in a second (also /m, /h)"},
    [OPTION_CPU] = {"cpu", KIND_TEXT, "N/h", NULL, "how many seconds of CPU time it can use in an hour (also /s, /m)"},
    [OPTION_BYTES] = {"bytes", KIND_TEXT, "SIZE/h", NULL,
                      "how many bytes it can send in an hour, such as 1GiB/h (also /s, /m)"},
    [OPTION_WEIGHT] = {"weight", KIND_COUNT, "N", NULL, "its share when the workers are busy, 1 to 100; default 1"},
    [OPTION_RETRIES] = {"retries", KIND_COUNT, "N", NULL, "how often to try again when the service is busy; default 5"},
    [OPTION_URL] = {"url", KIND_TEXT, "URL", NULL, "where the service is: http://…, https://…, unix:/PATH"},
    [OPTION_KEY_FILE] = {"key-file", KIND_TEXT, "FILE", NULL,
                         "the API key is the first line of FILE; else it comes from OFFLOAD_API_KEY"},
    [OPTION_CA] = {"ca", KIND_TEXT, "FILE", NULL,
                   "for https: trust the certificates in FILE (PEM) alone; else those of OFFLOAD_CA or the system"},
    [OPTION_CERT] = {"cert", KIND_TEXT, "FILE", NULL, "for https: our own certificate (PEM), if the service wants one"},
    [OPTION_CERT_KEY] = {"cert-key", KIND_TEXT, "FILE", NULL,
                         "the private key of --cert (PEM); default: it is in the same file"},
    [OPTION_HELP] = {"help", KIND_SWITCH, NULL, NULL, "this page", 'h'},
    [OPTION_VERSION] = {"version", KIND_SWITCH, NULL, NULL, "the version of this program"},
};

const struct option_row *options_row(enum option_id id) {
    return &rows[id];
}

/* A count, or a time with its unit, in milliseconds. 0, or -1. */
static int parse_number(const struct option_row *row, const char *text, int64_t *number) {
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || errno != 0 || text[0] < '0' || text[0] > '9')
        return -1;
    int64_t scale = row->kind == KIND_COUNT && *end == '\0' ? 1 : 0;
    for (size_t i = 0; row->kind != KIND_COUNT && i < sizeof units / sizeof units[0]; i++)
        if (strcmp(end, units[i].name) == 0)
            scale = units[i].ms;
    if (scale == 0 || value > INT64_MAX / scale)
        return -1;
    *number = value * scale;
    return row->kind == KIND_SECONDS && *number % 1000 != 0 ? -1 : 0;
}

static int take_option(struct options *o, enum option_id id, const char *text) {
    static const char *const wanted[] = {
        [KIND_COUNT] = "a whole number",
        [KIND_MS] = "a time such as 500ms, 30s, 10m or 1h",
        [KIND_SECONDS] = "a time of whole seconds such as 30s, 10m or 1h",
    };
    const struct option_row *row = &rows[id];
    o->text[id] = text != NULL ? text : "";
    if ((id == OPTION_PARAMS && o->params_count == OPTION_REPEAT_MAX) ||
        (id == OPTION_DATA && o->data_count == OPTION_REPEAT_MAX)) {
        say("--%s stands more than %d times", row->name, OPTION_REPEAT_MAX);
        return -1;
    }
    if (id == OPTION_PARAMS)
        o->params[o->params_count++] = text;
    if (id == OPTION_DATA)
        o->data[o->data_count++] = text;
    if (row->kind < KIND_COUNT || parse_number(row, text, &o->number[id]) == 0)
        return 0;
    say("--%s takes %s, not '%s'", row->name, wanted[row->kind], text);
    return -1;
}

int options_parse(struct options *o, int argc, char **argv) {
    struct option table[OPTION_COUNT + 1] = {0};
    for (int id = 0; id < OPTION_COUNT; id++)
        table[id] = (struct option){
            .name = rows[id].name,
            .has_arg = rows[id].kind == KIND_SWITCH ? no_argument : required_argument,
            .val = 256 + id,
        };
    *o = (struct options){0};
    for (;;) {
        int found = getopt_long(argc, argv, "ho:", table, NULL);
        if (found == -1)
            return optind;
        for (int id = 0; id < OPTION_COUNT && found < 256; id++)
            if (rows[id].letter == found)
                found = 256 + id;
        if (found < 256 || take_option(o, (enum option_id)(found - 256), optarg) != 0)
            return -1;
    }
}

int64_t options_number(const struct options *o, enum option_id id, int64_t fallback) {
    return options_given(o, id) ? o->number[id] : fallback;
}

bool options_allowed(const struct options *o, uint64_t set, const char *command) {
    for (int id = 0; id < OPTION_COUNT; id++) {
        if (!options_given(o, (enum option_id)id) || (set & OPTION_BIT(id)) != 0)
            continue;
        say("%s has no option --%s", command, rows[id].name);
        return false;
    }
    return true;
}

void options_write_job(const struct options *o, struct buf *json) {
    bool first = true;
    for (int id = 0; id < OPTION_COUNT; id++) {
        if (rows[id].member == NULL || o->text[id] == NULL)
            continue;
        buf_printf(json, "%s\"%s\":", first ? "" : ",", rows[id].member);
        if (rows[id].kind == KIND_TEXT)
            buf_json_string(json, o->text[id], strlen(o->text[id]));
        else
            buf_printf(json, "%" PRId64, rows[id].kind == KIND_SECONDS ? o->number[id] / 1000 : o->number[id]);
        first = false;
    }
}

void options_help(FILE *to) {
    for (int id = 0; id < OPTION_COUNT; id++) {
        char left[40];
        const char *value = rows[id].value;
        snprintf(left, sizeof left, "--%s%s%s", rows[id].name, value != NULL ? " " : "", value != NULL ? value : "");
        fprintf(to, "  %-24s %s\n", left, rows[id].help);
    }
}
