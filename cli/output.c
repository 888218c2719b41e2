/* output.c: see output.h. Process: the client. */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "cli/say.h"

#define LINE_MAX_BYTES 65536 /* a longer line is printed in parts */

struct outlet {
    int ends[2];
    struct buf line; /* what was not printed yet */
};
static struct outlet outlets[OUTPUT_COUNT] = {{.ends = {-1, -1}}, {.ends = {-1, -1}}};

int output_open(void) {
    for (int i = 0; i < OUTPUT_COUNT; i++) {
        int *ends = outlets[i].ends;
        if (pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
            continue;
        say("pipe: %s", strerror(errno));
        return -1;
    }
    return 0;
}

int output_writer(enum output_of of) {
    return outlets[of].ends[1];
}

static void print_lines(struct buf *line) {
    const char *last = line->size == 0 ? NULL : memrchr(line->data, '\n', line->size);
    size_t size = last != NULL ? (size_t)(last - line->data) + 1 : line->size >= LINE_MAX_BYTES ? line->size : 0;
    if (size == 0)
        return;
    say_text(stderr, line->data, size);
    memmove(line->data, line->data + size, line->size - size);
    line->size -= size;
}

/* At most so much that a program which prints without end does not keep us from our deadlines. True: there was some. */
static bool relay(struct outlet *o) {
    char bytes[65536];
    ssize_t n = read(o->ends[0], bytes, sizeof bytes);
    if (n > 0)
        buf_append(&o->line, bytes, (size_t)n);
    print_lines(&o->line);
    return n > 0;
}

int output_poll(int fd, int events, int64_t deadline_ns) {
    for (;;) {
        struct pollfd polled[OUTPUT_COUNT + 1] = {[OUTPUT_COUNT] = {.fd = fd, .events = (short)events}};
        for (int i = 0; i < OUTPUT_COUNT; i++)
            polled[i] = (struct pollfd){.fd = outlets[i].ends[0], .events = POLLIN};
        int64_t left_ms = (deadline_ns - clock_monotonic_ns() + NS_PER_MS - 1) / NS_PER_MS;
        int n = poll(polled, OUTPUT_COUNT + 1, left_ms < 0 ? 0 : left_ms > 1000 ? 1000 : (int)left_ms);
        for (int i = 0; n > 0 && i < OUTPUT_COUNT; i++)
            if (polled[i].revents != 0)
                relay(&outlets[i]);
        if (n > 0 && polled[OUTPUT_COUNT].revents != 0)
            return polled[OUTPUT_COUNT].revents;
        if (left_ms <= 0)
            return 0;
    }
}

void output_close(void) {
    for (int i = 0; i < OUTPUT_COUNT; i++) {
        struct outlet *o = &outlets[i];
        if (o->ends[0] < 0)
            continue;
        close(o->ends[1]);
        while (relay(o))
            ;
        if (o->line.size > 0)
            say_text(stderr, o->line.data, o->line.size);
        buf_deinit(&o->line);
        close(o->ends[0]);
        o->ends[0] = o->ends[1] = -1;
    }
}
