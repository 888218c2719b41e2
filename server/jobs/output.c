/* output.c: see output.h. Front end. */
#include "server/jobs/output.h"

#include <string.h>

static void log_line(const struct job *job, const struct worker *w, const char *line, size_t size) {
    const struct handler *h = host_handler(job->record->type);
    char id[ID_TEXT_SIZE], text[WIRE_MAX_LOG + 1];
    memcpy(text, line, size);
    text[size] = '\0';
    id_format(&job->record->id, id);
    LOG(LOG_INFO, "program_output", LOG_STR("job", id), LOG_STR("type", h == NULL ? NULL : h->name),
        LOG_INT("worker", worker_slot(w)), LOG_STR("line", text));
}

void output_add(struct job *job, const struct worker *w, const char *text, size_t size) {
    const char *end = text + size;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t line = (size_t)((stop == NULL ? end : stop) - text);
        if (LOG_INFO >= log_threshold && line <= WIRE_MAX_LOG)
            log_line(job, w, text, line);
        text += line + 1;
    }
}
