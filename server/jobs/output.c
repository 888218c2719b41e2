/* output.c: see output.h. Front end. */
#include "server/jobs/output.h"

#include <string.h>

#include "base/held.h"

/* At most WIRE_MAX_LOG bytes. */
static void log_line(const struct job *job, const struct worker *w, const char *line, size_t size) {

    char id[ID_TEXT_SIZE], text[WIRE_MAX_LOG + 1];
    for (size_t i = 0; i < size; i++) /* a NUL would hide what follows */
        text[i] = line[i] == '\0' ? ' ' : line[i];
    text[size] = '\0';
    id_format(&job->record->id, id);
    LOG(LOG_INFO, "program_output", LOG_STR("job", id), LOG_STR("type", host_name(job->record->type)),
        LOG_INT("worker", worker_slot(w)), LOG_STR("line", text));
}

/* Each line, in the log of offloadd. */
static void log_lines(const struct job *job, const struct worker *w, const char *text, size_t size) {
    const char *end = text + size;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t line = (size_t)((stop == NULL ? end : stop) - text);
        log_line(job, w, text, line);
        text += line + 1;
    }
}

static size_t bytes_of(const struct job_log *l) {
    return l == NULL ? 0 : sizeof *l + l->text.capacity;
}

static void keep(struct job *job, const char *text, size_t size) {
    struct record *r = job->record;
    size_t before = bytes_of(r->log);
    bool first = r->log_size == 0;
    if (r->log == NULL)
        r->log = job_log_new();
    /* A log that does not fit within --max-memory does not grow. */
    bool fits = r->log != NULL && (before >= 2 * JOB_LOG_MAX || held_make_room(HELD_FOR_WORK, before + size));
    if (!fits || !job_log_add(r->log, text, size))
        LOG(LOG_ERROR, "program_output_lost", LOG_INT("bytes", size));
    if (bytes_of(r->log) > before)
        job_hold(job, bytes_of(r->log) - before);
    r->log_size = r->log == NULL ? 0 : (uint32_t)(r->log->text.size - job_log_start(r->log));
    if (first && r->log_size > 0)
        job_touch(job); /* links.log is there from now on */
    else
        job_tell_changed(job);
}

void output_add(struct job *job, const struct worker *w, const char *text, size_t size) {
    if (LOG_INFO >= log_threshold)
        log_lines(job, w, text, size);
    if (job->phase != PHASE_DONE)
        keep(job, text, size);
}

void output_end(struct job *job) {
    struct record *r = job->record;
    if (r->log == NULL)
        return;
    job_log_end(r->log);
    r->log_size = (uint32_t)r->log->text.size;
}
