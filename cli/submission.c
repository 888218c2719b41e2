/* submission.c: see submission.h. Process: the client. The service decides what is valid for a job type. This file only
 * makes sure that the text is well-formed JSON, whatever was typed. */
#include "cli/submission.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cli/say.h"
#include "cli/slice.h"

#define FILE_BYTES (1u << 30) /* more than any service takes */
#define READ_BYTES (64u << 10)

static int read_stream(struct buf *out, FILE *from) {
    for (;;) {
        char *to = buf_reserve(out, READ_BYTES);
        if (to == NULL || out->size > FILE_BYTES) {
            errno = to == NULL ? ENOMEM : EFBIG;
            return -1;
        }
        size_t n = fread(to, 1, READ_BYTES, from);
        out->size += n;
        out->data[out->size] = '\0';
        if (n == 0)
            return ferror(from) ? -1 : 0;
    }
}

static int read_file(struct buf *out, const char *path) {
    bool standard = strcmp(path, "-") == 0;
    FILE *from = standard ? stdin : fopen(path, "rbe");
    int status = from != NULL ? read_stream(out, from) : -1;
    if (status != 0)
        say("cannot read %s: %s", path, strerror(errno));
    if (from != NULL && !standard)
        fclose(from);
    return status;
}

/* Appends a value as it was typed, or, for @FILE, the content of the file. */
static int read_value(struct buf *out, const char *text) {
    if (text[0] == '@')
        return read_file(out, text + 1);
    buf_puts(out, text);
    return 0;
}

static int write_string(struct buf *json, const char *text, size_t size, const char *what) {
    json_t *string = json_stringn(text, size);
    char *quoted = string != NULL ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    if (quoted != NULL)
        buf_puts(json, quoted);
    else
        say("%s is not UTF-8 text", what);
    json_decref(string);
    free(quoted);
    return quoted != NULL ? 0 : -1;
}

static int write_pair(struct buf *json, const char *word) {
    const char *equals = strchr(word, '=');
    if (equals == NULL || equals == word) {
        say("expected KEY=VALUE, not '%s'", word);
        return -1;
    }
    struct buf value = {0};
    int status = write_string(json, word, (size_t)(equals - word), "a KEY");
    buf_putc(json, ':');
    if (status == 0)
        status = read_value(&value, equals + 1);
    struct slice text = {value.size != 0 ? value.data : "", value.size};
    if (status == 0 && slice_is_json(text))
        buf_append(json, text.data, text.size);
    else if (status == 0)
        status = write_string(json, text.data, text.size, word);
    buf_deinit(&value);
    return status;
}

static int write_pairs(struct buf *json, char **words, size_t count) {
    buf_putc(json, '{');
    for (size_t i = 0; i < count; i++) {
        if (i != 0)
            buf_putc(json, ',');
        if (write_pair(json, words[i]) != 0)
            return -1;
    }
    buf_putc(json, '}');
    return 0;
}

/* Appends an object that is the value of that option. */
static int write_whole(struct buf *json, const struct options *options, enum option_id id) {
    struct buf value = {0};
    const char *text = options->text[id];
    int status = read_value(&value, text);
    const char *first = value.size != 0 ? value.data + strspn(value.data, " \t\r\n") : "";
    if (status == 0 && (*first != '{' || !slice_is_json((struct slice){value.data, value.size}))) {
        say("--%s takes a JSON object", options_row(id)->name);
        status = -1;
    }
    buf_append(json, value.data, value.size);
    buf_deinit(&value);
    return status;
}

static int write_type(struct buf *body, const char *type) {
    buf_puts(body, "{\"type\":");
    return write_string(body, type, strlen(type), "TYPE");
}

static int write_options(struct buf *body, const struct options *options) {
    buf_puts(body, ",\"options\":{");
    options_write_job(options, body);
    buf_puts(body, "}}");
    if (!body->failed)
        return 0;
    say("out of memory");
    return -1;
}

int submission_write(struct buf *body, char **words, size_t count, const struct options *options) {
    if (write_type(body, words[0]) != 0)
        return -1;
    buf_puts(body, ",\"params\":");
    bool whole = options_given(options, OPTION_PARAMS);
    if (whole && count > 1) {
        say("give either --params or KEY=VALUE, not both");
        return -1;
    }
    int status = whole ? write_whole(body, options, OPTION_PARAMS) : write_pairs(body, words + 1, count - 1);
    return status == 0 ? write_options(body, options) : -1;
}

/* NULL, or what is wrong with a line that is to be an item. */
static const char *fault_of(struct slice line) {
    if (memchr(line.data, '\0', line.size) != NULL)
        return "has a NUL byte";
    return slice_is_json(line) ? NULL : "is not JSON";
}

/* True if all of it is white space. */
static bool is_blank(struct slice line) {
    while (line.size > 0 && memchr(" \t\r", line.data[line.size - 1], 3) != NULL)
        line.size--;
    return line.size == 0;
}

/* Appends each line of JSON as one item. path: for the message. */
static int write_items(struct buf *json, const struct buf *text, const char *path) {
    const char *end = text->data + text->size;
    size_t number = 1;
    bool first = true;
    for (const char *at = text->data; at < end; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        struct slice line = {at, (size_t)((newline != NULL ? newline : end) - at)};
        at = newline != NULL ? newline + 1 : end;
        if (is_blank(line))
            continue;
        const char *fault = fault_of(line);
        if (fault != NULL) {
            say("%s: line %zu %s", path, number, fault);
            return -1;
        }
        buf_puts(json, first ? "" : ",");
        buf_append(json, line.data, line.size);
        first = false;
    }
    return 0;
}

static int write_lines(struct buf *body, const char *path) {
    struct buf lines = {0};
    int status = read_file(&lines, path);
    buf_puts(body, ",\"items\":[");
    if (status == 0)
        status = write_items(body, &lines, path);
    buf_putc(body, ']');
    buf_deinit(&lines);
    return status;
}

int submission_write_map(struct buf *body, char **words, size_t count, const struct options *options) {
    bool columns = options_given(options, OPTION_COLUMNS);
    if (columns && count > 1) {
        say("give either --columns or FILE, not both");
        return -1;
    }
    int status = write_type(body, words[0]);
    if (columns)
        buf_puts(body, ",\"columns\":");
    if (status == 0)
        status = columns ? write_whole(body, options, OPTION_COLUMNS) : write_lines(body, count > 1 ? words[1] : "-");
    return status == 0 ? write_options(body, options) : -1;
}
