/* command_stream.c: the commands that print news of a job while it runs. Process: the client.
 *
 * `events` prints "EVENT DATA" for each server-sent event, until the event named "end". `log` prints what the job's
 * processes have printed. `map` submits items or columns, prints one line of JSON for each when it is
 * finished, and a summary on stderr. Ctrl-C ends the process and so its connection: the service then cancels the job of
 * a map, unless the job has a key. */
#include "cli/command_stream.h"

#include <stdlib.h>
#include <string.h>

#include "cli/events.h"
#include "cli/job.h"
#include "cli/lines.h"
#include "cli/say.h"
#include "cli/submission.h"

#define SILENCE_S 86400 /* the service sends nothing until an item is finished, and that can take long */

/* ---- events ------------------------------------------------------------------------------------------------------ */

static void print_event(void *arg, const char *name, const char *data, size_t size) {
    (void)arg, (void)size;
    printf("%s %s\n", name, data);
    fflush(stdout);
}

int command_events(struct command_input *in) {
    struct event_reader e = {.take = print_event};
    int code = events_read(&in->service, in->words[0], &e);
    return code == EXIT_DONE && !e.succeeded ? EXIT_UNSUCCESSFUL : code;
}

int command_log(struct command_input *in) {
    if (options_given(in->options, OPTION_FOLLOW))
        return events_follow_log(&in->service, in->words[0], stdout);
    return job_write_log(&in->service, in->words[0], stdout);
}

/* ---- map --------------------------------------------------------------------------------------------------------- */

struct map {
    bool whole; /* the last line has come */
    int code;
};

/* Takes the line of an item, or of the summary or error that ends the answer. */
static void take_map_line(void *arg, const char *line, size_t size) {
    struct map *m = arg;
    if (strncmp(line, "{\"index\":", 9) == 0) {
        printf("%s\n", line);
        fflush(stdout);
        return;
    }
    json_t *last = json_loadb(line, size, 0, NULL);
    const json_t *summary = json_object_get(last, "summary"), *error = json_object_get(last, "error");
    m->whole = summary != NULL || error != NULL;
    if (error != NULL) {
        service_tell_problem(error, "the job");
        m->code = EXIT_UNSUCCESSFUL;
    } else if (summary != NULL) {
        long long total = json_integer_value(json_object_get(summary, "total"));
        long long failed = json_integer_value(json_object_get(summary, "failed"));
        say("%lld items, %lld of them failed", total, failed);
        m->code = failed > 0 ? EXIT_UNSUCCESSFUL : EXIT_DONE;
    }
    json_decref(last);
}

static int submit_map(struct command_input *in, const struct buf *body, FILE *sink, const char *key, struct answer *a) {
    struct client_request request = {.method = "POST",
                                     .accept = "application/x-ndjson",
                                     .key = key,
                                     .body = body,
                                     .wait_s = SILENCE_S,
                                     .sink = sink};
    buf_puts(&request.path, "/v1/jobs");
    int code = service_call(&in->service, &request, false, a);
    if (code != EXIT_DONE || a->http.status == 200)
        return code;
    const char *id = answer_text(a, "id");
    say("too many clients wait; the job goes on: offload wait %s", id != NULL ? id : "ID");
    return EXIT_NOT_ENDED;
}

int command_map(struct command_input *in) {
    struct answer a = {0};
    struct buf body = {0};
    struct map m = {.whole = false};
    struct lines lines = {.take = take_map_line, .arg = &m};
    const char *key;
    FILE *sink = NULL;
    int code = job_read_key(in->options, &key);
    if (code != EXIT_DONE)
        return code;
    code = EXIT_USAGE;
    if (submission_write_map(&body, in->words, in->word_count, in->options) != 0)
        goto out;
    sink = lines_open(&lines);
    code = sink != NULL ? submit_map(in, &body, sink, key, &a) : EXIT_TROUBLE;
    if (code == EXIT_DONE && !m.whole) {
        say("the answer was cut");
        code = EXIT_TROUBLE;
    }
out:
    if (sink != NULL)
        fclose(sink);
    lines_close(&lines);
    buf_deinit(&body);
    answer_deinit(&a);
    return code == EXIT_DONE ? m.code : code;
}
