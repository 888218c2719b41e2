/* log.c: see log.h. Any process. */
#include "base/log.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log_queue.h"

#define FLUSH_LIMIT_NS (1 * NS_PER_S)

_Atomic enum log_level log_threshold = LOG_INFO;
_Atomic enum log_format log_style = LOG_TEXT;

static const char *const level_names[] = {"debug", "info", "warn", "error"};
_Static_assert(sizeof level_names / sizeof level_names[0] == LOG_QUEUE_LEVELS, "each level has its count");
_Static_assert(LOG_QUEUE_RESERVE == (int)LOG_WARN, "warnings and errors have room of their own");

static void put_value(struct buf *b, const struct log_field *f) {
    if (f->kind == LOG_KIND_INT)
        buf_printf(b, "%lld", (long long)f->integer);
    else if (f->kind == LOG_KIND_REAL)
        buf_printf(b, "%.3f", f->real);
    else if (f->kind == LOG_KIND_RAW)
        buf_puts(b, f->text);
    else
        buf_json_string(b, f->text, strlen(f->text));
}

char log_mark;

static void write_fields(struct buf *b, enum log_level level, const struct log_field *fields) {
    char time[CLOCK_TEXT_SIZE];
    bool json = log_style == LOG_JSON;
    clock_format(clock_wall_ms(), time);
    if (log_mark != 0)
        buf_putc(b, log_mark);
    if (json)
        buf_printf(b, "{\"time\":\"%s\",\"level\":\"%s\"", time, level_names[level]);
    else
        buf_printf(b, "%s %-5s %s", time, level_names[level], fields[0].text);
    for (const struct log_field *f = json ? fields : fields + 1; f->kind != LOG_KIND_END; f++) {
        if (f->kind >= LOG_KIND_STR && f->text == NULL)
            continue;
        buf_printf(b, json ? ",\"%s\":" : " %s=", f->name);
        put_value(b, f);
    }
    buf_puts(b, json ? "}\n" : "\n");
}

/* Frees the line. */
static void send_line(enum log_level level, struct buf *line) {
    if (line->failed)
        log_queue_drop(level);
    /* A log that cannot be written must not stop the service, and there is no other place to report it. */
    else if (!log_queue_put(level, line->data, line->size) && write(STDERR_FILENO, line->data, line->size) < 0)
        log_queue_drop(level);
    buf_deinit(line);
}

void log_write(enum log_level level, const struct log_field *fields) {
    struct buf line = {0};
    write_fields(&line, level, fields);
    send_line(level, &line);
}

void log_say(const char *text) {
    struct buf line = {0};
    buf_puts(&line, text);
    buf_putc(&line, '\n');
    send_line(LOG_ERROR, &line);
}

/* ---- the thread of the front end --------------------------------------------------------------------------------- */

static void report_drops(struct buf *line, const uint64_t dropped[LOG_QUEUE_LEVELS]) {
    const struct log_field fields[] = {LOG_STR("event", "log_dropped"),      LOG_INT("debug", dropped[LOG_DEBUG]),
                                       LOG_INT("info", dropped[LOG_INFO]),   LOG_INT("warn", dropped[LOG_WARN]),
                                       LOG_INT("error", dropped[LOG_ERROR]), {0, LOG_KIND_END, 0, 0, 0}};
    write_fields(line, LOG_WARN, fields);
}

int log_start(size_t buffer_bytes) {
    return log_queue_start(buffer_bytes, LOG_WARN, report_drops);
}

void log_flush(void) {
    log_queue_flush(FLUSH_LIMIT_NS);
}

void log_stop(void) {
    log_queue_stop(FLUSH_LIMIT_NS);
}

uint64_t log_dropped(enum log_level level) {
    return log_queue_dropped(level);
}

size_t log_held_bytes(void) {
    return log_queue_bytes();
}
