/* lost.c: see lost.h. Front end. */
#include "server/jobs/lost.h"

#include <string.h>

#define MAX_STDERR_SHOWN 1024 /* bytes */

void lost_add(struct job *job, const struct task *t, const char *cause, const struct death *d) {
    struct record *r = job->record;
    if (r->lost_count == RECORD_MAX_LOST)
        return;
    buf_puts(&r->lost, r->lost_count++ == 0 ? "{" : ",{");
    if (t != NULL && t->kind == TASK_RUN)
        buf_printf(&r->lost, "\"chunk\":%u,", t->chunk);
    buf_printf(&r->lost, "\"cause\":\"%s\"", cause);
    if (d != NULL && signal_name(d->signal) != NULL)
        buf_printf(&r->lost, ",\"signal\":\"%s\"", signal_name(d->signal));
    if (d != NULL && d->exit_code >= 0)
        buf_printf(&r->lost, ",\"exit_code\":%d", d->exit_code);
    if (d != NULL)
        buf_printf(&r->lost, ",\"max_rss_bytes\":%llu,\"cpu_ms\":%llu", (unsigned long long)d->max_rss_bytes,
                   (unsigned long long)d->cpu_ms);
    if (d != NULL && d->stderr_tail[0] != '\0') {
        size_t n = strlen(d->stderr_tail), skip = n > MAX_STDERR_SHOWN ? n - MAX_STDERR_SHOWN : 0;
        buf_puts(&r->lost, ",\"stderr_tail\":");
        buf_json_string(&r->lost, d->stderr_tail + skip, n - skip);
    }
    buf_putc(&r->lost, '}');
}
