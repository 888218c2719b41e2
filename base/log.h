/* log.h: one line for each event on stderr, as JSON or as text. A line is one write(2), so that the lines of several
 * processes do not mix. Any process and thread. Fields have types:
 *
 *     LOG(LOG_WARN, "worker_lost", LOG_INT("pid", pid), LOG_STR("cause", "signal"));
 */
#ifndef OFFLOAD_LOG_H
#define OFFLOAD_LOG_H

#include <stdint.h>

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

/* Both are set at the start of a process, and by a reload. */
extern enum log_level log_threshold;
extern enum log_format log_style;

/* Writes a line, whatever the threshold is; LOG looks at it. fields[0] names the event; the last has LOG_KIND_END. */
void log_write(enum log_level level, const struct log_field *fields);

#define LOG(level, event, ...)                                                                                         \
    do {                                                                                                               \
        if ((level) >= log_threshold)                                                                                  \
            log_write(level,                                                                                           \
                      (const struct log_field[]){LOG_STR("event", event), ##__VA_ARGS__, {0, LOG_KIND_END, 0, 0, 0}}); \
    } while (0)

#endif
