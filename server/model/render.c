/* render.c: see render.h. Front end. It is on the path of every short job, so it does not build a tree of JSON: it
 * writes text. What is JSON already (result, error, lost) was written by us. */
#include "server/model/render.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "handlers/host/host.h"
#include "server/model/result.h"

static void put_time(struct buf *out, const char *name, int64_t wall_ms) {
    char text[CLOCK_TEXT_SIZE];
    if (wall_ms == 0)
        return;
    clock_format(wall_ms, text);
    buf_puts(out, ",\"");
    buf_puts(out, name);
    buf_puts(out, "\":\"");
    buf_append(out, text, CLOCK_TEXT_SIZE - 1);
    buf_putc(out, '"');
}

/* Writes milliseconds with three digits behind the point; returns the end. At most 21 bytes. */
static char *write_ms(char *to, int64_t ns) {
    uint64_t us = ns < 0 ? 0 : (uint64_t)ns / 1000;
    to = digits_write(to, us / 1000);
    *to++ = '.';
    *to++ = (char)('0' + us / 100 % 10);
    *to++ = (char)('0' + us / 10 % 10);
    *to++ = (char)('0' + us % 10);
    return to;
}

static void put_ms(struct buf *out, int64_t ns) {
    char text[32];
    buf_append(out, text, (size_t)(write_ms(text, ns) - text));
}

static void put_number(struct buf *out, const char *name, uint64_t value) {
    buf_puts(out, name);
    buf_u64(out, value);
}

static void put_progress(struct buf *out, const struct record *r, const struct job_view *view) {
    if (r->chunks_total == 0)
        return;
    put_number(out, ",\"progress\":{\"done\":", r->chunks_done);
    put_number(out, ",\"total\":", r->chunks_total);
    if (view->live && r->status == JOB_RUNNING)
        buf_printf(out, ",\"fraction\":%.3f", view->fraction);
    buf_putc(out, '}');
}

static void put_waiting(struct buf *out, const struct record *r, const struct job_view *view) {
    if (!view->live || r->status != JOB_QUEUED)
        return;
    buf_puts(out, view->delayed ? ",\"waiting_for\":\"delay\"" : ",\"waiting_for\":\"worker\"");
    put_time(out, "estimated_start", view->estimated_start_ms);
}

size_t render_result_size(const struct record *r) {
    size_t size = r->status != JOB_SUCCEEDED ? 0 : r->binary == NULL ? r->result.size : r->binary->summary.size;
    return size <= RENDER_MAX_INLINE ? size : 0;
}

static void put_result_text(struct buf *out, const struct record *r, size_t size) {
    char *to = buf_reserve(out, size);
    if (to == NULL)
        return;
    if (r->binary != NULL)
        memcpy(to, r->binary->summary.data, size);
    else if (slice_read(&r->result, 0, to, size) != 0)
        out->failed = true;
    out->size += size;
    out->data[out->size] = '\0';
}

static void put_result(struct buf *out, const struct record *r) {
    size_t size = render_result_size(r);
    if (size > 0) {
        buf_puts(out, ",\"result\":");
        put_result_text(out, r, size);
    }
    if (r->status != JOB_SUCCEEDED || r->binary == NULL)
        return;
    buf_puts(out, ",\"result_media_type\":");
    buf_json_string(out, r->binary->media_type, strlen(r->binary->media_type));
    struct slice document = result_document(r);
    put_number(out, ",\"result_size\":", document.size);
    slice_deinit(&document);
}

static void put_timings(struct buf *out, const struct record *r) {
    buf_puts(out, ",\"timings\":{\"queued_ms\":");
    put_ms(out, r->queued_ns);
    if (r->started_ms != 0) {
        buf_puts(out, ",\"run_ms\":");
        put_ms(out, r->run_ns);
    }
    buf_puts(out, ",\"cpu_ms\":");
    put_ms(out, r->cpu_ns);
    buf_putc(out, '}');
}

void render_job(struct buf *out, const struct record *r, const struct job_view *view, bool with_result) {
    const char *type = host_name(r->type);
    char id[ID_TEXT_SIZE];
    id_format(&r->id, id);
    buf_puts(out, "{\"id\":\"");
    buf_append(out, id, ID_TEXT_SIZE - 1);
    if (type != NULL) {
        buf_puts(out, "\",\"type\":\"");
        buf_puts(out, type);
    }
    buf_puts(out, "\",\"status\":\"");
    buf_puts(out, job_status_name(r->status));
    buf_putc(out, '"');
    if (r->tenant != NULL) {
        buf_puts(out, ",\"key\":");
        buf_json_string(out, r->tenant, strlen(r->tenant));
    }
    put_time(out, "created_at", r->created_ms);
    put_time(out, "started_at", r->started_ms);
    put_time(out, "finished_at", r->finished_ms);
    put_time(out, "expires_at", r->expires_ms);
    put_progress(out, r, view);
    put_number(out, ",\"attempts\":", r->attempts);
    if (r->lost_count > 0) {
        buf_puts(out, ",\"lost\":[");
        buf_append(out, r->lost.data, r->lost.size);
        buf_putc(out, ']');
    }
    put_waiting(out, r, view);
    options_render(&r->options, out);
    if (with_result)
        put_result(out, r);
    if (r->status == JOB_FAILED && r->error.size > 0) {
        buf_puts(out, ",\"error\":");
        buf_append(out, r->error.data, r->error.size);
    }
    put_timings(out, r);
    buf_puts(out, ",\"links\":{\"self\":\"/v1/jobs/");
    buf_append(out, id, ID_TEXT_SIZE - 1);
    buf_puts(out, "\",\"result\":\"/v1/jobs/");
    buf_append(out, id, ID_TEXT_SIZE - 1);
    buf_puts(out, "/result\",\"events\":\"/v1/jobs/");
    buf_append(out, id, ID_TEXT_SIZE - 1);
    buf_puts(out, "/events\"");
    if (r->log_size > 0) {
        buf_puts(out, ",\"log\":\"/v1/jobs/");
        buf_append(out, id, ID_TEXT_SIZE - 1);
        buf_puts(out, "/log\"");
    }
    buf_puts(out, "}}");
}

size_t render_etag(char to[RENDER_ETAG_SIZE], const struct record *r, const struct job_view *view) {
    unsigned permille = !view->live || r->status != JOB_RUNNING ? 0 : (unsigned)(view->fraction * 1000);
    int significant = snprintf(to, RENDER_ETAG_SIZE, "\"%llu-", (unsigned long long)r->version);
    snprintf(to + significant, RENDER_ETAG_SIZE - (size_t)significant, "%u\"", permille);
    return (size_t)significant;
}

enum { DESC_ROOM = 32 };

void render_server_timing(char to[RENDER_TIMING_SIZE], const struct record *r) {
    const struct handler *h = host_handler(r->type);
    const struct {
        const char *name, *desc;
        int64_t ns;
    } phases[] = {{"queue;dur=", NULL, r->queued_ns},
                  {", plan;dur=", h == NULL ? NULL : h->plan_is, r->plan_ns},
                  {", run;dur=", h == NULL ? NULL : h->run_is, r->run_ns - r->plan_ns - r->merge_ns},
                  {", merge;dur=", NULL, r->merge_ns}};
    for (size_t i = 0; i < 4; i++) {
        size_t n = strlen(phases[i].name);
        memcpy(to, phases[i].name, n);
        to = write_ms(to + n, phases[i].ns);
        if (phases[i].desc != NULL)
            to += snprintf(to, DESC_ROOM, ";desc=\"%.*s\"", DESC_ROOM - 10, phases[i].desc);
    }
    *to = '\0';
}
