/* log.h: one line for each event on stderr, as JSON or as text. Any process and thread. Fields have types:
 *
 *     LOG(LOG_WARN, "worker_lost", LOG_INT("pid", pid), LOG_STR("cause", "signal"));
 *
 * In the front end nobody waits for stderr: after log_start a thread writes the lines (log_queue.h), and what does not
 * fit into its buffer is dropped and counted. In other processes a line is one write(2). Their stderr is a pipe that
 * the front end empties (pool/stderr_tail.h), so they need not wait for the reader of the log either. */
#ifndef OFFLOAD_LOG_H
#define OFFLOAD_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

enum log_kind { LOG_KIND_END, LOG_KIND_INT, LOG_KIND_REAL, LOG_KIND_STR, LOG_KIND_RAW };

struct log_field {
    const char *name;
    enum log_kind kind;
    int64_t integer;
    double real;
    const char *text; /* LOG_KIND_STR: NULL leaves the field out; LOG_KIND_RAW: JSON as it is */
};

#define LOG_INT(name, value)                                                                                           \
    { name, LOG_KIND_INT, (int64_t)(value), 0, 0 }
#define LOG_REAL(name, value)                                                                                          \
    { name, LOG_KIND_REAL, 0, (value), 0 }
#define LOG_STR(name, value)                                                                                           \
    { name, LOG_KIND_STR, 0, 0, (value) }
#define LOG_RAW(name, value)                                                                                           \
    { name, LOG_KIND_RAW, 0, 0, (value) }

/* Both are set at the start of a process, and the threshold by a reload. Any thread reads them. */
extern _Atomic enum log_level log_threshold;
extern _Atomic enum log_format log_style;

/* If it is not 0, each line begins with it. A process sets it whose stderr another one reads (LOG_MARK): so the reader
 * knows the lines of the log from what libraries print, and writes them to its own log as they are. */
extern char log_mark;
#define LOG_MARK '\x1e' /* the record separator of ASCII */

/* Starts the thread that writes, with a buffer of so many bytes. 0, or -1 with errno. The main thread of the front end
 * calls it once. */
MUST_CHECK int log_start(size_t buffer_bytes);
/* Waits until all lines are written, but no longer than a second. Call it before an abort. */
void log_flush(void);
/* The same; then the thread ends. Lines that are left are lost, and so are all later ones. The main thread calls it at
 * the end of the process. */
void log_stop(void);
/* Lines that were dropped since the process started, because the buffer was full or stderr could not be written. */
uint64_t log_dropped(enum log_level level);
size_t log_held_bytes(void); /* of lines that are not written yet */

/* Writes a line of plain text, without a time, for who has started the program: "offloadd: ...". It keeps its place
 * among the lines of the log. */
void log_say(const char *text);

/* Writes a line, whatever the threshold is; LOG looks at it. fields[0] names the event; the last has LOG_KIND_END. */
void log_write(enum log_level level, const struct log_field *fields);

#define LOG(level, event, ...)                                                                                         \
    do {                                                                                                               \
        if ((level) >= log_threshold)                                                                                  \
            log_write(level,                                                                                           \
                      (const struct log_field[]){LOG_STR("event", event), ##__VA_ARGS__, {0, LOG_KIND_END, 0, 0, 0}}); \
    } while (0)

#endif
