/* lines.c: see lines.h. Process: the client. The sink is a stdio stream of our own (fopencookie(3)), without a buffer.
 * The length of a line is bounded, because all that the service sends is hostile. */
#include "cli/lines.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include "cli/say.h"

#define LINE_BYTES (256u << 20)

static ssize_t take_text(void *cookie, const char *text, size_t size) {
    struct lines *l = cookie;
    size_t done = 0;
    while (done < size) {
        const char *newline = memchr(text + done, '\n', size - done);
        size_t length = newline != NULL ? (size_t)(newline - text) - done : size - done;
        buf_append(&l->part, text + done, length);
        if (l->part.failed || l->part.size > LINE_BYTES) {
            errno = ENOMEM;
            return 0;
        }
        done += length + (newline != NULL);
        if (newline == NULL)
            break;
        l->take(l->arg, l->part.data, l->part.size);
        buf_clear(&l->part);
    }
    return (ssize_t)size;
}

FILE *lines_open(struct lines *l) {
    FILE *sink = fopencookie(l, "w", (cookie_io_functions_t){.write = take_text});
    if (sink == NULL)
        say("out of memory");
    else
        setvbuf(sink, NULL, _IONBF, 0);
    return sink;
}

void lines_close(struct lines *l) {
    buf_deinit(&l->part);
}
