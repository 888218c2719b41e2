/* config.c: a libFuzzer target for all that an operator writes: the file of --config, the values of options, and the
 * file of secrets. The first byte of an input says which of them the rest is. The environment is not changed.
 *
 * Besides what the sanitizers find, it checks that a value which is accepted is within the bounds of its row, and that
 * a mistake has a message. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/config.h"
#include "server/webhooks/sign.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "not true: %s\n", #condition);                                                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_bounds(const struct config *c) {
    size_t count;
    const struct config_option *rows = config_options(&count);
    for (size_t i = 0; i < count; i++) {
        const void *field = (const char *)c + rows[i].offset;
        if (rows[i].kind <= CONFIG_TIME && rows[i].decided == NULL)
            CHECK(*(const int64_t *)field >= rows[i].min && *(const int64_t *)field <= rows[i].max);
        if (rows[i].kind == CONFIG_LIST)
            CHECK(((const struct config_list *)field)->count <= CONFIG_MAX_LIST);
    }
}

/* A regular file with these bytes, under a name that holds as long as the process. */
static const char *file_of(const uint8_t *data, size_t size) {
    static char path[64];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("fuzz-config", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

static void read_config_file(const uint8_t *data, size_t size) {
    char name[] = "offloadd", flag[] = "--config", path[64];
    struct config c;
    struct buf error = {0};
    snprintf(path, sizeof path, "%s", file_of(data, size));
    char *argv[] = {name, flag, path, NULL};
    if (config_read(&c, 3, argv, &error) == 0)
        check_bounds(&c);
    else
        CHECK(error.size > 0);
    buf_deinit(&error);
    config_forget();
}

/* Lines of NAME=VALUE, as flags are: a value can have any byte but a NUL. */
static void set_options(char *text) {
    struct config c, other;
    memset(&c, 0, sizeof c);
    while (text != NULL) {
        char *value = strsep(&text, "\n"), *name = strsep(&value, "=");
        const struct config_option *row = config_find_option(name);
        struct buf error = {0}, out = {0};
        if (row == NULL || value == NULL)
            continue;
        other = c;
        if (config_set_option(&c, row, value, 1, &error) != 0) {
            CHECK(error.size > 0);
            CHECK(config_option_is_same(row, &c, &other));
        } else {
            const void *field = (const char *)&c + row->offset;
            if (row->kind <= CONFIG_TIME)
                CHECK(*(const int64_t *)field >= row->min && *(const int64_t *)field <= row->max);
            config_copy_option(row, &other, &c);
            CHECK(config_option_is_same(row, &c, &other));
        }
        config_write_range(&out, row);
        config_write_value(&out, row);
        buf_deinit(&out);
        buf_deinit(&error);
    }
}

static void read_secrets(const uint8_t *data, size_t size) {
    struct webhook_secrets secrets;
    struct buf error = {0};
    if (webhook_secrets_read(&secrets, file_of(data, size), &error) == 0)
        CHECK(secrets.count > 0 && secrets.count <= WEBHOOK_MAX_SECRETS);
    else
        CHECK(error.size > 0 && secrets.count == 0);
    webhook_secrets_wipe(&secrets);
    buf_deinit(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    if (data[0] == 'o') {
        char *text = malloc(size);
        CHECK(text != NULL);
        memcpy(text, data + 1, size - 1);
        text[size - 1] = '\0';
        set_options(text);
        free(text);
    } else if (data[0] == 's') {
        read_secrets(data + 1, size - 1);
    } else {
        read_config_file(data + 1, size - 1);
    }
    return 0;
}
