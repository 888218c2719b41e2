/* command_stream.c: the commands that print news of a job while it runs. Process: the client.
 *
 * `events` prints "EVENT DATA" for each server-sent event, until the event named "end". When the stream is cut, it asks
 * for the rest with the id of the last event. `map` submits items or columns, prints one line of JSON for each when it is
 * finished, and a summary on stderr. Ctrl-C ends the process and so its connection: the service then cancels the job of
 * a map, unless the job has a key. */
#include "cli/command_stream.h"

#include <stdlib.h>
#include <string.h>

#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/lines.h"
#include "cli/say.h"
#include "cli/submission.h"

#define ID_BYTES  100
#define AGAIN_MS  1000  /* the first delay after a stream that was cut */
#define SILENCE_S 86400 /* the service sends nothing until an item is finished, and that can take long */

/* ---- events ------------------------------------------------------------------------------------------------------ */

struct events {
    char id[ID_BYTES];   /* of the last event */
    char name[ID_BYTES]; /* of the event whose lines come now */
    bool ended, succeeded;
};

/* Takes a line "field: value" of a server-sent event (WHATWG HTML, section 9.2). The service sends one line of data for
 * each event, and comments, which are ignored. */
static void take_event_line(void *arg, const char *line, size_t size) {
    struct events *e = arg;
    if (strncmp(line, "id: ", 4) == 0) {
        snprintf(e->id, sizeof e->id, "%s", line + 4);
    } else if (strncmp(line, "event: ", 7) == 0) {
        snprintf(e->name, sizeof e->name, "%s", line + 7);
    } else if (strncmp(line, "data: ", 6) == 0) {
        e->ended = strcmp(e->name, "end") == 0;
        e->succeeded = e->ended && memmem(line, size, "\"status\":\"succeeded\"", 20) != NULL;
        printf("%s %s\n", e->name, line + 6);
        fflush(stdout);
    }
}

static int read_events(struct command_input *in, struct events *e, FILE *sink, struct answer *a) {
    struct client_request request = {.method = "GET", .accept = "text/event-stream", .sink = sink};
    request.last_event = e->id[0] != '\0' ? e->id : NULL;
    buf_puts(&request.path, "/v1/jobs/");
    client_escape(in->service.client, &request.path, in->words[0]);
    buf_puts(&request.path, "/events");
    return service_call(&in->service, &request, false, a);
}

int command_events(struct command_input *in) {
    struct answer a = {0};
    struct events e = {.ended = false};
    struct lines lines = {.take = take_event_line, .arg = &e};
    FILE *sink = lines_open(&lines);
    int code = sink != NULL ? EXIT_DONE : EXIT_TROUBLE;
    bool again = sink != NULL;
    for (unsigned tried = 0; again; tried++) {
        code = read_events(in, &e, sink, &a);
        buf_clear(&lines.part);
        /* The stream was cut, by a service that stopped or by a lost connection. */
        bool cut = !e.ended && e.id[0] != '\0' && (code == EXIT_DONE || code == EXIT_TROUBLE);
        again = cut && tried < in->service.retries;
        if (again)
            interrupt_sleep((int64_t)AGAIN_MS << (tried < 5 ? tried : 5));
    }
    if (code == EXIT_DONE && !e.ended) {
        say("the events were cut");
        code = EXIT_TROUBLE;
    }
    if (sink != NULL)
        fclose(sink);
    lines_close(&lines);
    answer_deinit(&a);
    return code == EXIT_DONE && !e.succeeded ? EXIT_UNSUCCESSFUL : code;
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
