/* textfile.c: see textfile.h. Any process. */
#include "base/textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads to the end. 0, or -1 with errno. EFBIG: it is larger than TEXTFILE_MAX. */
static int read_all(struct buf *text, int fd, size_t expected) {
    char *to = buf_reserve(text, expected + 1);
    if (to == NULL) {
        errno = ENOMEM;
        return -1;
    }
    while (text->size <= expected) {
        ssize_t n = read(fd, text->data + text->size, expected + 1 - text->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            text->data[text->size] = '\0';
            return n == 0 ? 0 : -1;
        }
        text->size += (size_t)n;
    }
    errno = ETXTBSY; /* it has grown meanwhile: what was read can be half of a line */
    return -1;
}

/* Names the line of the first NUL byte: it would hide what follows. */
static bool has_nul(const struct buf *text, struct buf *why) {
    const char *nul = text->size > 0 ? memchr(text->data, '\0', text->size) : NULL;
    unsigned line = 1;
    if (nul == NULL)
        return false;
    for (const char *p = text->data; p < nul; p++)
        line += *p == '\n';
    buf_printf(why, "line %u: it has a NUL byte", line);
    return true;
}

int textfile_read(struct buf *text, const char *path, struct buf *why) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a pipe without a writer does not hold us up */
    if (fd < 0 || fstat(fd, &st) != 0)
        buf_puts(why, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        buf_puts(why, strerror(EISDIR));
    else if (!S_ISREG(st.st_mode))
        buf_puts(why, "it is not a regular file");
    else if (st.st_size > (off_t)TEXTFILE_MAX)
        buf_printf(why, "it is larger than %u bytes", TEXTFILE_MAX);
    else if (read_all(text, fd, st.st_size > 0 ? (size_t)st.st_size : TEXTFILE_MAX) != 0) /* files of /proc: 0 */
        buf_puts(why, strerror(errno));
    else if (!has_nul(text, why)) {
        close(fd);
        return 0;
    }
    if (fd >= 0)
        close(fd);
    textfile_wipe(text);
    return -1;
}

void textfile_wipe(struct buf *text) {
    if (text->data != NULL)
        explicit_bzero(text->data, text->capacity);
    buf_deinit(text);
}
