/* stderr_tail.c: see stderr_tail.h. Front end. */
#include "pool/stderr_tail.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/container.h"
#include "base/log.h"

#define MAX_READS 16 /* in one go, so that one process cannot keep the event loop busy */

static void append(struct stderr_tail *t, const char *bytes, size_t size) {
    const size_t room = sizeof t->text - 1;
    if (size > room) {
        bytes += size - room;
        size = room;
    }
    size_t drop = t->size + size > room ? t->size + size - room : 0;
    memmove(t->text, t->text + drop, t->size - drop);
    t->size -= drop;
    t->logged -= drop < t->logged ? drop : t->logged;
    for (size_t i = 0; i < size; i++) /* a NUL would hide what follows */
        t->text[t->size + i] = bytes[i] == '\0' ? ' ' : bytes[i];
    t->size += size;
    t->text[t->size] = '\0';
}

/* Logs the complete lines that were not logged yet. */
static void log_lines(struct stderr_tail *t) {
    for (;;) {
        char *line = t->text + t->logged;
        char *end = strchr(line, '\n');
        if (end == NULL)
            return;
        *end = '\0';
        if (t->slot == STDERR_TAIL_OF_ZYGOTE && line[0] == LOG_MARK)
            log_say(line + 1);
        else if (t->slot == STDERR_TAIL_OF_ZYGOTE)
            LOG(LOG_WARN, "zygote_stderr", LOG_INT("pid", t->pid), LOG_STR("line", line));
        else
            LOG(LOG_WARN, "worker_stderr", LOG_INT("worker", t->slot), LOG_INT("pid", t->pid), LOG_STR("line", line));
        *end = '\n';
        t->logged = (size_t)(end + 1 - t->text);
    }
}

void stderr_tail_init(struct stderr_tail *t, struct loop *loop, unsigned slot) {
    *t = (struct stderr_tail){.loop = loop, .slot = slot, .watch.fd = -1};
}

static void on_stderr(struct watch *watch, uint32_t events) {
    (void)events;
    stderr_tail_read(container_of(watch, struct stderr_tail, watch));
}

int stderr_tail_open(struct stderr_tail *t, int fd, pid_t pid) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    t->pid = pid;
    t->size = t->logged = 0;
    t->text[0] = '\0';
    t->watch = (struct watch){fd, on_stderr};
    return loop_watch(t->loop, &t->watch, EPOLLIN);
}

void stderr_tail_read(struct stderr_tail *t) {
    char bytes[1024];
    for (int turn = 0; turn < MAX_READS && t->watch.fd >= 0; turn++) {
        ssize_t n = read(t->watch.fd, bytes, sizeof bytes);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            stderr_tail_close(t);
            return;
        }
        append(t, bytes, (size_t)n);
        log_lines(t);
    }
}

void stderr_tail_close(struct stderr_tail *t) {
    if (t->watch.fd < 0)
        return;
    loop_unwatch(t->loop, &t->watch);
    close(t->watch.fd);
    t->watch.fd = -1;
}
