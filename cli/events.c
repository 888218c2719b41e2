/* events.c: see events.h. Process: the client. */
#include "cli/events.h"

#include <jansson.h>
#include <string.h>

#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/lines.h"
#include "cli/say.h"

#define AGAIN_MS 1000 /* the first delay after a stream that was cut */

/* Takes a line "field: value" of a server-sent event (WHATWG HTML, section 9.2). The service sends one line of data for
 * each event, and comments, which are ignored. */
static void take_line(void *arg, const char *line, size_t size) {
    struct event_reader *e = arg;
    if (strncmp(line, "id: ", 4) == 0) {
        snprintf(e->id, sizeof e->id, "%s", line + 4);
    } else if (strncmp(line, "event: ", 7) == 0) {
        snprintf(e->name, sizeof e->name, "%s", line + 7);
    } else if (strncmp(line, "data: ", 6) == 0) {
        e->ended = strcmp(e->name, "end") == 0;
        e->succeeded = e->ended && memmem(line, size, "\"status\":\"succeeded\"", 20) != NULL;
        e->take(e->arg, e->name, line + 6, size - 6);
    }
}

static int read_stream(struct service *s, const char *job, struct event_reader *e, FILE *sink, struct answer *a) {
    struct client_request request = {.method = "GET", .accept = "text/event-stream", .sink = sink};
    request.last_event = e->id[0] != '\0' ? e->id : NULL;
    buf_puts(&request.path, "/v1/jobs/");
    client_escape(s->client, &request.path, job);
    buf_puts(&request.path, "/events");
    return service_call(s, &request, false, a);
}

int events_read(struct service *s, const char *job, struct event_reader *e) {
    struct answer a = {0};
    struct lines lines = {.take = take_line, .arg = e};
    FILE *sink = lines_open(&lines);
    int code = sink != NULL ? EXIT_DONE : EXIT_TROUBLE;
    bool again = sink != NULL;
    for (unsigned tried = 0; again; tried++) {
        code = read_stream(s, job, e, sink, &a);
        buf_clear(&lines.part);
        /* The stream was cut, by a service that stopped or by a lost connection. */
        bool cut = !e->ended && e->id[0] != '\0' && (code == EXIT_DONE || code == EXIT_TROUBLE);
        again = cut && tried < s->retries && interrupt_signal() == 0;
        if (again)
            interrupt_sleep((int64_t)AGAIN_MS << (tried < 5 ? tried : 5));
    }
    if (code == EXIT_DONE && !e->ended) {
        say("the events were cut");
        code = EXIT_TROUBLE;
    }
    if (sink != NULL)
        fclose(sink);
    lines_close(&lines);
    answer_deinit(&a);
    return code;
}

struct follower {
    FILE *to;
    bool any; /* text has come */
};

static void take_log(void *arg, const char *name, const char *data, size_t size) {
    struct follower *f = arg;
    if (strcmp(name, "log") != 0)
        return;
    json_t *event = json_loadb(data, size, JSON_ALLOW_NUL, NULL);
    const json_t *text = json_object_get(event, "text");
    if (json_string_length(text) > 0) {
        fwrite(json_string_value(text), 1, json_string_length(text), f->to);
        fflush(f->to);
        f->any = true;
    }
    json_decref(event);
}

int events_follow_log(struct service *s, const char *job, FILE *to) {
    struct follower f = {.to = to};
    struct event_reader e = {.take = take_log, .arg = &f};
    int code = events_read(s, job, &e);
    /* A job that had ended before has no events but its end. */
    return code == EXIT_DONE && !f.any ? job_write_log(s, job, to) : code;
}
