/* job_log.c: see job_log.h. Front end. */
#include "server/model/job_log.h"

#include <stdlib.h>
#include <string.h>

#define MOST  (2 * JOB_LOG_MAX) /* bytes that the text has at any time */
#define PIECE (8 * 1024)        /* text that is added in one go; each byte can become three */

struct job_log *job_log_new(void) {
    return calloc(1, sizeof(struct job_log));
}

void job_log_free(struct job_log *l) {
    if (l == NULL)
        return;
    buf_deinit(&l->text);
    free(l);
}

size_t job_log_start(const struct job_log *l) {
    size_t at = l->text.size;
    if (at <= JOB_LOG_MAX)
        return 0;
    at -= JOB_LOG_MAX;
    const char *line = memchr(l->text.data + at - 1, '\n', JOB_LOG_MAX); /* not the end of the text: that is no line */
    if (line != NULL)
        return (size_t)(line + 1 - l->text.data);
    while (((unsigned char)l->text.data[at] & 0xC0) == 0x80)
        at++;
    return at;
}

static void drop_old(struct job_log *l) {
    size_t start = job_log_start(l);
    l->text.size -= start;
    l->dropped += start;
    memmove(l->text.data, l->text.data + start, l->text.size);
    l->text.data[l->text.size] = '\0';
}

/* Where a piece of a text that is longer ends: before a character. */
static size_t piece_size(const char *text, size_t size) {
    size_t n = size < PIECE ? size : PIECE;
    while (n < size && n > PIECE - 4 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    return n;
}

bool job_log_add(struct job_log *l, const char *text, size_t size) {
    while (size > 0) {
        size_t n = piece_size(text, size), before = l->text.size;
        if (before + 3 * n >= MOST)
            drop_old(l);
        before = l->text.size;
        buf_utf8(&l->text, text, n);
        if (l->text.failed) {
            l->text.failed = false;
            l->text.size = before;
            return false;
        }
        text += n;
        size -= n;
    }
    return true;
}

void job_log_end(struct job_log *l) {
    if (l->text.size > JOB_LOG_MAX)
        drop_old(l);
    if (l->text.data == NULL)
        return;
    char *smaller = realloc(l->text.data, l->text.size + 1);
    if (smaller == NULL)
        return;
    l->text.data = smaller;
    l->text.capacity = l->text.size + 1;
}
