/* settings.c: reads the JSON files of a model's folder (settings.h). It runs in the zygote, once for each model.
 *
 * Integers are read as doubles: transformers writes 10^30 where it means "no limit", and jansson refuses an integer of
 * more than 64 bits. */
#include "handlers/embed/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int settings_fail(const struct settings *s, const char *format, ...) {
    int used = snprintf(s->why, SETTINGS_WHY, "%s: ", s->label);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s->why + used, SETTINGS_WHY - (size_t)used, format, arguments);
    va_end(arguments);
    return -1;
}

struct settings_shown settings_show(const char *text) {
    struct settings_shown s;
    size_t n = 0;
    for (; n < SETTINGS_SHOWN && text[n] != '\0'; n++)
        s.text[n] = (char)(text[n] >= ' ' && text[n] <= '~' ? text[n] : '?');
    memcpy(s.text + n, text[n] != '\0' ? "..." : "", text[n] != '\0' ? 4 : 1);
    return s;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

/* Reads `size` bytes, or all that there are. How many it read, or -1. */
static ptrdiff_t read_all(int fd, char *to, size_t size) {
    size_t have = 0;
    while (have < size) {
        ssize_t n = read(fd, to + have, size - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ptrdiff_t)have;
}

static int parse(struct settings *s, const char *text, size_t size) {
    json_error_t error;
    s->root = json_loadb(text, size, JSON_DECODE_INT_AS_REAL, &error);
    if (s->root != NULL)
        return 0;
    if (json_error_code(&error) == json_error_out_of_memory)
        return settings_fail(s, "does not fit into the memory");
    return settings_fail(s, "is not JSON: line %d", error.line);
}

static int read_file(struct settings *s, int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return settings_fail(s, "is not a file");
    if (st.st_size > SETTINGS_MAX_FILE)
        return settings_fail(s, "is larger than %d bytes", SETTINGS_MAX_FILE);
    char *text = malloc((size_t)st.st_size + 1);
    if (text == NULL)
        return settings_fail(s, "does not fit into the memory");
    ptrdiff_t size = read_all(fd, text, (size_t)st.st_size);
    int result = size < 0 ? settings_fail(s, "cannot be read: %s", strerror(errno)) : parse(s, text, (size_t)size);
    free(text);
    return result;
}

int settings_open(struct settings *s, const char *folder, const char *name, const char *file, char *why) {
    char path[4096];
    struct stat link;
    s->root = NULL;
    s->why = why;
    snprintf(s->label, sizeof s->label, "%s/%s", name, file);
    if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path)
        return settings_fail(s, "has a path that is too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would make it wait */
    if (fd < 0 && errno == ENOENT)
        return lstat(path, &link) != 0 ? 0 : settings_fail(s, "is a link to a file that is not there");
    if (fd < 0)
        return settings_fail(s, "cannot be opened: %s", strerror(errno));
    int result = read_file(s, fd);
    close(fd);
    return result;
}

void settings_close(struct settings *s) {
    json_decref(s->root);
    s->root = NULL;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* NULL: it is missing, or null. */
static const json_t *value_of(const struct settings *s, const char *key) {
    const json_t *value = json_object_get(s->root, key);
    return json_is_null(value) ? NULL : value;
}

int settings_real(const struct settings *s, const char *key, double low, double high, double *value) {
    const json_t *number = value_of(s, key);
    if (number == NULL)
        return 0;
    if (!json_is_real(number))
        return settings_fail(s, "%s is not a number", key);
    double real = json_real_value(number);
    if (!(real >= low && real <= high))
        return settings_fail(s, "%s is %.9g; %.9g to %.9g can be served", key, real, low, high);
    *value = real;
    return 0;
}

int settings_integer(const struct settings *s, const char *key, uint32_t low, uint32_t high, uint32_t *value) {
    double real = *value;
    if (settings_real(s, key, low, high, &real) != 0)
        return -1;
    if (real != floor(real))
        return settings_fail(s, "%s is not an integer", key);
    *value = (uint32_t)real;
    return 0;
}

int settings_flag(const struct settings *s, const char *key, bool *value) {
    const json_t *flag = value_of(s, key);
    if (flag == NULL)
        return 0;
    if (!json_is_boolean(flag))
        return settings_fail(s, "%s is neither true nor false", key);
    *value = json_is_true(flag);
    return 0;
}

int settings_text(const struct settings *s, const char *key, const char **value) {
    const json_t *text = value_of(s, key);
    if (text == NULL)
        return 0;
    if (!json_is_string(text))
        return settings_fail(s, "%s is not a text", key);
    *value = json_string_value(text);
    return 0;
}

int settings_need(const struct settings *s, const char *key) {
    return value_of(s, key) != NULL ? 0 : settings_fail(s, "has no %s", key);
}
