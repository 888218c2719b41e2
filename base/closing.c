/* closing.c: see closing.h. Front end; the thread reads from a pipe what it is to close. */
#include "base/closing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/thread.h"

struct closing {
    int fd;
    size_t size;
};

static struct {
    int from, to; /* the ends of the pipe; `to` -1: there is no thread */
    pthread_t thread;
    _Atomic size_t waiting; /* bytes */
} closer = {.from = -1, .to = -1};

static void *close_all(void *arg) {
    struct closing c;
    (void)arg;
    for (;;) {
        ssize_t n = read(closer.from, &c, sizeof c); /* a write of so few bytes is never divided: pipe(7) */
        if (n < 0 && errno == EINTR)
            continue;
        if (n != (ssize_t)sizeof c)
            return NULL;
        close(c.fd);
        atomic_fetch_sub(&closer.waiting, c.size);
    }
}

int closing_start(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    closer.from = ends[0];
    int error = fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0 ? thread_start(&closer.thread, close_all, NULL) : errno;
    if (error == 0) {
        closer.to = ends[1];
        return 0;
    }
    close(ends[0]);
    close(ends[1]);
    errno = error;
    return -1;
}

void closing_stop(void) {
    if (closer.to < 0)
        return;
    close(closer.to);
    closer.to = -1;
    pthread_join(closer.thread, NULL);
    close(closer.from);
}

void closing_close(int fd, size_t size) {
    const struct closing c = {fd, size < CLOSING_MOST ? size : CLOSING_MOST}; /* so that no sum overflows */
    if (closer.to < 0 || size < CLOSING_FROM || atomic_load(&closer.waiting) >= CLOSING_MOST) {
        close(fd);
        return;
    }
    atomic_fetch_add(&closer.waiting, c.size);
    if (write(closer.to, &c, sizeof c) == (ssize_t)sizeof c)
        return;
    atomic_fetch_sub(&closer.waiting, c.size); /* the pipe is full */
    close(fd);
}
