/* log.c: see log.h. Any process. */
#include "base/log.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

enum log_level log_threshold = LOG_INFO;
enum log_format log_style = LOG_TEXT;

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

void log_write(enum log_level level, const struct log_field *fields) {
    static const char *const level_names[] = {"debug", "info", "warn", "error"};
    char time[CLOCK_TEXT_SIZE];
    struct buf b = {0};
    bool json = log_style == LOG_JSON;
    clock_format(clock_wall_ms(), time);
    if (json)
        buf_printf(&b, "{\"time\":\"%s\",\"level\":\"%s\"", time, level_names[level]);
    else
        buf_printf(&b, "%s %-5s %s", time, level_names[level], fields[0].text);
    for (const struct log_field *f = json ? fields : fields + 1; f->kind != LOG_KIND_END; f++) {
        if (f->kind >= LOG_KIND_STR && f->text == NULL)
            continue;
        buf_printf(&b, json ? ",\"%s\":" : " %s=", f->name);
        put_value(&b, f);
    }
    buf_puts(&b, json ? "}\n" : "\n");
    /* A log that cannot be written must not stop the service, and there is no other place to report it. */
    if (!b.failed && write(STDERR_FILENO, b.data, b.size) < 0)
        b.failed = true;
    buf_deinit(&b);
}
