/* message.c: see message.h. Front end. */
#include "server/webhooks/message.h"

#include <string.h>

#include "base/clock.h"
#include "server/model/model.h"
#include "server/webhooks/sign.h"

void webhook_body(struct buf *out, const struct record *r) {
    char ended[CLOCK_TEXT_SIZE];
    clock_format(r->finished_ms, ended);
    buf_printf(out, "{\"type\":\"job.%s\",\"timestamp\":\"%s\",\"data\":", job_status_name(r->status), ended);
    render_job(out, r, &(struct job_view){0}, true);
    buf_putc(out, '}');
}

/* webhook-id is made from the job's id, so it is the same in all attempts. */
int webhook_headers(struct buf *text, const char *headers[WEBHOOK_MAX_HEADERS + 1],
                    const struct webhook_secrets *secrets, const struct webhook_message *m) {
    char parent[TRACE_PARENT_SIZE];
    char id[sizeof "msg_" + ID_TEXT_SIZE] = "msg_";
    long long now_s = clock_wall_ms() / 1000;
    id_format(&m->job, id + strlen(id));
    buf_printf(text, "content-type: application/json%c", '\0');
    buf_printf(text, "webhook-id: %s%c", id, '\0');
    buf_printf(text, "webhook-timestamp: %lld%c", now_s, '\0');
    if (secrets->count > 0) {
        buf_puts(text, "webhook-signature: ");
        webhook_sign(text, secrets, id, now_s, m->body, m->size);
        buf_putc(text, '\0');
    }
    if (trace_parent(m->trace, parent) != NULL)
        buf_printf(text, "traceparent: %s%c", parent, '\0');
    if (trace_state(m->trace) != NULL)
        buf_printf(text, "tracestate: %s%c", trace_state(m->trace), '\0');
    if (text->failed)
        return -1;
    size_t n = 0;
    for (const char *at = text->data; at < text->data + text->size; at += strlen(at) + 1)
        headers[n++] = at;
    headers[n] = NULL;
    return 0;
}
