/* log_queue.c: see log_queue.h. The front end: its threads put lines, and the thread that is started here writes them.
 *
 * The buffer is a ring. A line in it is a head, which has the size and the level, and the text. A line leaves the ring
 * when it is written; until then flush waits for it. The thread writes at most PIPE_BUF bytes at a time, and whole lines
 * as long as they fit, so that other processes which write to the same pipe do not get between. O_NONBLOCK would be no
 * way to do without the thread: it belongs to the open file, which we share with others, and a file on a disk has no
 * such thing. */
#include "base/log_queue.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"

#define COLLECT_NS                                                                                                     \
    (1 * NS_PER_MS) /* the thread sleeps so long after the first line, so that it need not be woken often */

struct head {
    uint32_t size, level;
};

static struct {
    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t wake;   /* for the thread */
    pthread_cond_t moved;  /* lines have left the ring, or the thread has ended */
    pthread_t thread;
    bool running, given_up; /* given_up: log_queue_stop has left the thread alone */
    bool sleeping;          /* the thread waits for a line, and must be woken */
    bool hurry, stop, ended;

    char *ring;
    size_t room, first, used; /* bytes of the ring; first: of the oldest line; used: with what is being written */
    size_t taken;             /* of `used`: what is being written */
    struct head line;         /* the line of which the last bytes were taken */
    size_t line_left;         /* of it: bytes that were not taken yet */
    bool mid_line;            /* the last byte that was written was not the end of a line */

    unsigned report_level;
    void (*report)(struct buf *line, const uint64_t dropped[LOG_QUEUE_LEVELS]);
    uint64_t dropped[LOG_QUEUE_LEVELS], reported[LOG_QUEUE_LEVELS];
} queue = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- the ring; with the mutex ------------------------------------------------------------------------------------ */

static void copy_in(size_t at, const void *bytes, size_t size) {
    at %= queue.room;
    size_t until_end = queue.room - at, front = size < until_end ? size : until_end;
    memcpy(queue.ring + at, bytes, front);
    memcpy(queue.ring, (const char *)bytes + front, size - front);
}

static void copy_out(void *bytes, size_t at, size_t size) {
    at %= queue.room;
    size_t until_end = queue.room - at, front = size < until_end ? size : until_end;
    memcpy(bytes, queue.ring + at, front);
    memcpy((char *)bytes + front, queue.ring, size - front);
}

static void put(unsigned level, const char *line, size_t size) {
    const struct head head = {(uint32_t)size, level};
    const size_t room = level >= LOG_QUEUE_RESERVE ? queue.room : queue.room / 4 * 3;
    if (size > room || queue.given_up || queue.used + sizeof head + size > room) {
        queue.dropped[level]++;
        return;
    }
    copy_in(queue.first + queue.used, &head, sizeof head);
    copy_in(queue.first + queue.used + sizeof head, line, size);
    queue.used += sizeof head + size;
}

/* Takes the next bytes to write: whole lines, or a piece of one that is longer than PIPE_BUF. counts: the lines that end
 * in them. */
static size_t take(char out[PIPE_BUF], uint64_t counts[LOG_QUEUE_LEVELS]) {
    size_t n = 0;
    while (n < PIPE_BUF && queue.taken < queue.used) {
        if (queue.line_left == 0) {
            struct head head;
            copy_out(&head, queue.first + queue.taken, sizeof head);
            if (n > 0 && head.size > PIPE_BUF - n)
                break;
            queue.line = head;
            queue.line_left = head.size;
            queue.taken += sizeof head;
        }
        size_t size = queue.line_left < PIPE_BUF - n ? queue.line_left : PIPE_BUF - n;
        copy_out(out + n, queue.first + queue.taken, size);
        queue.taken += size;
        queue.line_left -= size;
        n += size;
        if (queue.line_left == 0)
            counts[queue.line.level]++;
    }
    return n;
}

/* What was taken is written, or lost. A line of which a piece is lost is lost as a whole. */
static void settle(bool written, const uint64_t counts[LOG_QUEUE_LEVELS]) {
    if (!written) {
        for (unsigned i = 0; i < LOG_QUEUE_LEVELS; i++)
            queue.dropped[i] += counts[i];
        queue.dropped[queue.line.level] += queue.line_left > 0;
        queue.taken += queue.line_left;
        queue.line_left = 0;
    }
    queue.first = (queue.first + queue.taken) % queue.room;
    queue.used -= queue.taken;
    queue.taken = 0;
    if (queue.used == 0)
        queue.first = 0; /* most of the ring is never touched as long as the reader keeps up */
}

static void report_drops(void) {
    uint64_t news[LOG_QUEUE_LEVELS], all = 0;
    struct buf line = {0};
    for (unsigned i = 0; i < LOG_QUEUE_LEVELS; i++)
        all += news[i] = queue.dropped[i] - queue.reported[i];
    if (all == 0)
        return;
    memcpy(queue.reported, queue.dropped, sizeof queue.reported);
    queue.report(&line, news);
    if (!line.failed)
        put(queue.report_level, line.data, line.size);
    buf_deinit(&line);
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

/* Without the mutex. Waits as long as stderr does not take the bytes. False: it never will. */
static bool write_out(const char *bytes, size_t size) {
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    while (size > 0) {
        ssize_t n = write(STDERR_FILENO, bytes, size);
        if (n < 0 && errno == EAGAIN) /* whoever started us has set O_NONBLOCK */
            poll(&ready, 1, -1);
        else if (n < 0 && errno != EINTR)
            return false;
        if (n <= 0)
            continue;
        queue.mid_line = bytes[n - 1] != '\n';
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

static void write_some(void) {
    char out[PIPE_BUF];
    uint64_t counts[LOG_QUEUE_LEVELS] = {0};
    bool torn = queue.mid_line && queue.line_left == 0; /* the end of the line before is lost */
    size_t size = take(out, counts);
    pthread_mutex_unlock(&queue.mutex);
    bool written = (!torn || write_out("\n", 1)) && write_out(out, size);
    pthread_mutex_lock(&queue.mutex);
    settle(written, counts);
    /* Only after a success: else a stderr that is gone would have the thread report its own reports for ever. */
    if (written && queue.line_left == 0 && (queue.used <= queue.room / 2 || queue.stop))
        report_drops();
}

static void wait_until(pthread_cond_t *condition, int64_t at_ns) {
    const struct timespec at = {.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S};
    pthread_cond_timedwait(condition, &queue.mutex, &at);
}

static void *write_lines(void *arg) {
    (void)arg;
    pthread_mutex_lock(&queue.mutex);
    while (queue.used > 0 || !queue.stop) {
        while (queue.used == 0 && !queue.stop) {
            queue.sleeping = true;
            pthread_cond_wait(&queue.wake, &queue.mutex);
        }
        queue.sleeping = false;
        const int64_t end_ns = clock_monotonic_ns() + COLLECT_NS;
        while (!queue.hurry && !queue.stop && clock_monotonic_ns() < end_ns)
            wait_until(&queue.wake, end_ns);
        while (queue.used > 0) {
            write_some();
            pthread_cond_broadcast(&queue.moved);
        }
    }
    queue.ended = true;
    pthread_cond_broadcast(&queue.moved);
    pthread_mutex_unlock(&queue.mutex);
    return NULL;
}

static int start_thread(void) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&queue.wake, &monotonic);
    pthread_cond_init(&queue.moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return thread_start(&queue.thread, write_lines, NULL);
}

/* ---- for the others ---------------------------------------------------------------------------------------------- */

int log_queue_start(size_t bytes, unsigned report_level,
                    void (*report)(struct buf *line, const uint64_t dropped[LOG_QUEUE_LEVELS])) {
    char *ring = malloc(bytes);
    if (ring == NULL)
        return -1;
    pthread_mutex_lock(&queue.mutex);
    queue.ring = ring;
    queue.room = bytes;
    queue.first = queue.used = queue.taken = queue.line_left = 0;
    queue.mid_line = queue.hurry = queue.stop = queue.ended = queue.sleeping = queue.given_up = false;
    queue.report_level = report_level;
    queue.report = report;
    memcpy(queue.reported, queue.dropped, sizeof queue.reported); /* of what was dropped before, no line tells */
    int error = start_thread();
    queue.running = error == 0;
    pthread_mutex_unlock(&queue.mutex);
    if (error == 0)
        return 0;
    free(ring);
    errno = error;
    return -1;
}

bool log_queue_put(unsigned level, const char *line, size_t size) {
    pthread_mutex_lock(&queue.mutex);
    bool running = queue.running;
    if (running)
        put(level, line, size);
    bool wake = running && queue.sleeping && queue.used > 0;
    if (wake)
        queue.sleeping = false;
    pthread_mutex_unlock(&queue.mutex);
    if (wake)
        pthread_cond_signal(&queue.wake);
    return running;
}

void log_queue_drop(unsigned level) {
    pthread_mutex_lock(&queue.mutex);
    queue.dropped[level]++;
    pthread_mutex_unlock(&queue.mutex);
}

/* With the mutex. */
static bool wait_for_lines(const bool *done, int64_t limit_ns) {
    const int64_t end_ns = clock_monotonic_ns() + limit_ns;
    pthread_cond_signal(&queue.wake);
    while (done != NULL ? !*done : queue.used > 0) {
        if (clock_monotonic_ns() >= end_ns)
            return false;
        wait_until(&queue.moved, end_ns);
    }
    return true;
}

bool log_queue_flush(int64_t limit_ns) {
    pthread_mutex_lock(&queue.mutex);
    bool flushed = !queue.given_up;
    if (queue.running && !queue.given_up) {
        queue.hurry = true;
        flushed = wait_for_lines(NULL, limit_ns);
        queue.hurry = false;
    }
    pthread_mutex_unlock(&queue.mutex);
    return flushed;
}

void log_queue_stop(int64_t limit_ns) {
    pthread_mutex_lock(&queue.mutex);
    bool running = queue.running && !queue.given_up;
    if (running) {
        queue.stop = true;
        queue.given_up = !wait_for_lines(&queue.ended, limit_ns);
        queue.running = queue.given_up;
    }
    pthread_mutex_unlock(&queue.mutex);
    if (running && queue.given_up)
        pthread_detach(queue.thread);
    if (!running || queue.given_up)
        return;
    pthread_join(queue.thread, NULL);
    pthread_cond_destroy(&queue.wake);
    pthread_cond_destroy(&queue.moved);
    free(queue.ring);
    queue.ring = NULL;
}

uint64_t log_queue_dropped(unsigned level) {
    pthread_mutex_lock(&queue.mutex);
    uint64_t dropped = queue.dropped[level];
    pthread_mutex_unlock(&queue.mutex);
    return dropped;
}

size_t log_queue_bytes(void) {
    pthread_mutex_lock(&queue.mutex);
    size_t used = queue.used;
    pthread_mutex_unlock(&queue.mutex);
    return used;
}
