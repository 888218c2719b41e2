/* job_log.h: the log of a job: the last JOB_LOG_MAX bytes of what its programs have printed, in whole lines, as UTF-8.
 * It belongs to the record of the job. Front end, the thread of the event loop; but the store's thread makes the logs
 * that it reads from the disk, and hands each over with its record. */
#ifndef OFFLOAD_JOB_LOG_H
#define OFFLOAD_JOB_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define JOB_LOG_MAX (64 * 1024) /* bytes */

/* While lines are added there can be more of them than are kept, so that they need not be moved each time. */
struct job_log {
    struct buf text;
    uint64_t dropped; /* bytes that were in front of the text, and are gone */
};

struct job_log *job_log_new(void);    /* NULL if memory ran out */
void job_log_free(struct job_log *l); /* NULL is allowed */
/* Adds text. What is not UTF-8 becomes U+FFFD. False if memory ran out: then the text is left out. */
bool job_log_add(struct job_log *l, const char *text, size_t size);
/* Where in the text the part begins that is kept. It begins with a line, unless a line is longer than all of it. */
size_t job_log_start(const struct job_log *l);
/* Nothing will be added any more: drops all but the part that is kept, and gives memory back. */
void job_log_end(struct job_log *l);

#endif
