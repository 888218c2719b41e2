/* fields.c: fuzzes the parsers of header fields. The first byte chooses the parser; the rest is the value of the field,
 * and a line feed begins a further line of it. Whatever comes, the answers stay within their bounds, and what the
 * service keeps of it reads the same a second time. */
#include <stdlib.h>
#include <string.h>

#include "base/field.h"
#include "server/access/access.h"
#include "server/api/idempotency.h"
#include "server/api/prefer.h"
#include "server/http/etag.h"
#include "server/http/coding.h"
#include "server/http/range.h"
#include "server/model/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

/* Calls f for each line. Each is on the heap by itself, so that a sanitizer sees each byte that is read beyond it. */
static void each_line(const char *text, size_t size, void (*f)(void *arg, const char *line), void *arg) {
    const char *end = text + size;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((stop == NULL ? end : stop) - text);
        char *line = strndup(text, n);
        MUST(line != NULL);
        f(arg, line);
        free(line);
        text += n + (stop != NULL);
    }
}

static void add_prefer(void *arg, const char *line) {
    prefer_parse(arg, line);
}

static void read_prefer(const char *text, size_t size) {
    struct prefer p = {0};
    each_line(text, size, add_prefer, &p);
    MUST(!p.has_wait || (p.wait_s >= 0 && p.wait_s <= 1000000000));
}

static void add_accept(void *arg, const char *line) {
    accept_parse(arg, line);
}

static void add_accepted(void *arg, const char *line) {
    accept_ranges_parse(arg, line);
}

static void read_accept(const char *text, size_t size) {
    struct accept a = accept_of("application/x-ndjson", "application/json");
    each_line(text, size, add_accept, &a);
    MUST(a.first_q >= -1 && a.first_q <= 1000 && a.second_q >= -1 && a.second_q <= 1000);
    MUST(!accept_prefers_first(&a) || a.first_q > 0);
    struct accept_ranges ranges = {0};
    each_line(text, size, add_accepted, &ranges);
    MUST(ranges.count <= ACCEPT_MAX_RANGES);
    for (size_t i = 0; i < ranges.count; i++)
        MUST(ranges.list[i].quality <= 1000 && strlen(ranges.list[i].name) <= HANDLER_MAX_MEDIA_TYPE);
}

static void add_coding(void *arg, const char *line) {
    http_coding_read(arg, line);
}

static void read_accept_encoding(const char *text, size_t size) {
    struct http_coding_wish w = HTTP_CODING_NO_WISH;
    each_line(text, size, add_coding, &w);
    enum http_coding chosen = http_coding_choose(&w);
    MUST(chosen != HTTP_GZIP || w.gzip > 0 || (w.gzip < 0 && w.any > 0));
    MUST(chosen != HTTP_ZSTD || (w.zstd > 0 && w.zstd >= w.gzip));
    MUST(chosen != HTTP_IDENTITY || w.identity >= 0 || (w.gzip <= 0 && w.zstd <= 0));
}

static void add_priority(void *arg, const char *line) {
    int urgency = priority_parse(line);
    (void)arg;
    MUST(urgency >= -1 && urgency <= 7);
}

static void read_priority(const char *text, size_t size) {
    each_line(text, size, add_priority, NULL);
}

static void add_key(void *arg, const char *line) {
    char key[IDEMPOTENCY_MAX_KEY + 1];
    (void)arg;
    if (idempotency_parse(line, key))
        MUST(key[0] != '\0' && strlen(key) <= strlen(line));
}

static void read_key(const char *text, size_t size) {
    each_line(text, size, add_key, NULL);
}

static void add_parent(void *arg, const char *line) {
    trace_add_parent(arg, line);
}

static void add_state(void *arg, const char *line) {
    trace_add_state(arg, line);
}

/* What is kept is a traceparent of version 00 and a tracestate that are good enough to be read again. */
static void check_trace(struct trace_reader *t) {
    struct trace_reader again = {0};
    char parent[TRACE_PARENT_SIZE];
    const char *text = trace_text(t);
    if (text != NULL) {
        MUST(strlen(text) < TRACE_PARENT_SIZE + 1 + TRACE_STATE_MAX);
        trace_add_parent(&again, trace_parent(text, parent));
        if (trace_state(text) != NULL)
            trace_add_state(&again, trace_state(text));
        const char *same = trace_text(&again);
        MUST(same != NULL && strcmp(same, text) == 0);
    }
    trace_deinit(&again);
    trace_deinit(t);
}

static void read_parent(const char *text, size_t size) {
    struct trace_reader t = {0};
    each_line(text, size, add_parent, &t);
    check_trace(&t);
}

static void read_state(const char *text, size_t size) {
    struct trace_reader t = {0};
    trace_add_parent(&t, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    each_line(text, size, add_state, &t);
    check_trace(&t);
}

static void add_tags(void *arg, const char *line) {
    struct etag_search *searches = arg;
    for (int i = 0; i < 3; i++)
        etag_search_line(&searches[i], line);
    etag_search_single(&searches[3], line);
}

/* What matches strongly matches weakly, and what matches whole matches in front. */
static void read_tags(const char *text, size_t size) {
    struct etag_search s[4] = {{.etag = "\"3-0\""},
                               {.etag = "\"3-0\"", .weakly = true},
                               {.etag = "\"3-0\"", .significant = 3},
                               {.etag = "\"3-0\""}};
    each_line(text, size, add_tags, s);
    MUST(!s[0].found || (s[1].found && s[2].found));
    MUST(!s[3].found || s[0].found);
    MUST(!s[0].found || memmem(text, size, "\"3-0\"", 5) != NULL || memchr(text, '*', size) != NULL);
}

static void add_range(void *arg, const char *line) {
    static const size_t sizes[] = {0, 1, 100, SIZE_MAX};
    size_t first, last;
    (void)arg;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (range_parse(line, sizes[i], &first, &last) == RANGE_OK)
            MUST(first <= last && last < sizes[i]);
}

static void read_range(const char *text, size_t size) {
    each_line(text, size, add_range, NULL);
}

static void add_token(void *arg, const char *line) {
    size_t n;
    const char *token = access_read_token(line, &n);
    (void)arg;
    MUST(token == NULL || (n >= 1 && n <= ACCESS_MAX_TOKEN && token > line &&
                           token[n + strspn(token + n, " \t")] == '\0' && strcspn(token, " \t") == n));
}

static void read_token(const char *text, size_t size) {
    each_line(text, size, add_token, NULL);
}

static void (*const parsers[])(const char *text, size_t size) = {
    read_prefer, read_accept, read_accept_encoding, read_priority, read_key, read_parent,
    read_state,  read_tags,   read_range,           read_token};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0)
        parsers[data[0] % (sizeof parsers / sizeof parsers[0])]((const char *)data + 1, size - 1);
    return 0;
}
