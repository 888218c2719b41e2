/* events.h: reads the events of a job (GET /v1/jobs/{id}/events) until its end. When the stream is cut, it asks for the
 * rest with the id of the last event. Process: the client. */
#ifndef OFFLOAD_CLI_EVENTS_H
#define OFFLOAD_CLI_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/attributes.h"
#include "cli/service.h"

#define EVENT_ID_BYTES 100

/* The caller sets `take` and `arg`, and zeroes the rest. */
struct event_reader {
    /* Called for each event; data is JSON on one line, and ends with a NUL. */
    void (*take)(void *arg, const char *name, const char *data, size_t size);
    void *arg;
    char id[EVENT_ID_BYTES];   /* of the last event */
    char name[EVENT_ID_BYTES]; /* of the event whose lines come now */
    bool ended, succeeded;     /* the event `end` has come; the job has succeeded */
};

/* EXIT_DONE: the end has come. Any other exit code comes after a line on stderr. */
MUST_CHECK int events_read(struct service *s, const char *job, struct event_reader *e);

/* Writes what the processes of the job print to `to`, from the start on, until the job ends. Returns what events_read
 * returns. */
int events_follow_log(struct service *s, const char *job, FILE *to);

#endif
