/* log_queue.h: the lines of the log on their way to stderr. One thread writes them, because a write to stderr can take
 * for ever: a pipe that nobody reads, a terminal that is stopped (ctrl-S), a slow disk. The others put their lines into
 * a buffer, and never wait for it: a line that does not fit is dropped and counted. Lines keep their order.
 *
 * The front end. Any of its threads, except where a function says otherwise. Other processes do not start it. Only
 * log.c includes this. */
#ifndef OFFLOAD_LOG_QUEUE_H
#define OFFLOAD_LOG_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/buf.h"

#define LOG_QUEUE_LEVELS  4 /* 0 is the least urgent */
#define LOG_QUEUE_RESERVE 2 /* from this level on lines can use the whole buffer; the others three quarters of it */

/* Starts the thread, with a buffer of so many bytes. `report` appends the line that tells how many lines of each level
 * were dropped; `report_level` is the level of that line. The thread puts it into the buffer as soon as lines flow
 * again and half of the buffer is free. 0, or -1 with errno. Call it from the main thread, once, or again after
 * log_queue_stop. */
MUST_CHECK int log_queue_start(size_t bytes, unsigned report_level,
                               void (*report)(struct buf *line, const uint64_t dropped[LOG_QUEUE_LEVELS]));
/* Takes a copy of a whole line. False: there is no thread, so the caller writes it. */
bool log_queue_put(unsigned level, const char *line, size_t size);
/* Counts a line that could not even be made. */
void log_queue_drop(unsigned level);
/* Waits until all lines are written, but no longer than that. True: they are. */
bool log_queue_flush(int64_t limit_ns);
/* The same; then the thread ends. If lines are left, they and all later ones are lost, and the thread is left alone: it
 * ends with the process. Call it from the main thread. */
void log_queue_stop(int64_t limit_ns);

uint64_t log_queue_dropped(unsigned level);
size_t log_queue_bytes(void); /* in the buffer now */

#endif
