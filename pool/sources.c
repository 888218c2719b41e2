/* sources.c: see sources.h.
 *
 *     {"names": ["primes", ...], "plugins": ["./thumb.so", ...], "load_timeout_ns": 60000000000,
 *      "programs": [{"argv": ["node", ...], "env": ["PYTHONPATH=...", ...], "source": "program:...", "start": 0}]}
 *
 * Front end, zygote, and workers that are executed anew. */
#include "pool/sources.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handlers/host/host.h"
#include "pool/blob.h"

#define MAX_BYTES (16u << 20)

/* ---- memfds ------------------------------------------------------------------------------------------------------ */

int sources_seal(const char *name, const struct buf *bytes) {
    int fd = bytes->failed ? -1 : memfd_new(name);
    if (bytes->failed)
        errno = ENOMEM;
    if (fd < 0)
        return -1;
    if (memfd_write(fd, bytes->data, bytes->size) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int sources_unseal(int fd, size_t most, struct buf *bytes) {
    const int need = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS); /* only a memfd has some: nothing else is read here */
    if (seals < 0 || (seals & need) != need || fstat(fd, &st) != 0 || st.st_size < 0 || (uint64_t)st.st_size > most)
        return -1;
    size_t size = (size_t)st.st_size;
    char *to = buf_reserve(bytes, size);
    for (size_t done = 0; to != NULL && done < size;) {
        ssize_t n = pread(fd, to + done, size - done, (off_t)done);
        if (n <= 0)
            return -1;
        done += (size_t)n;
    }
    if (to == NULL)
        return -1;
    bytes->size += size;
    to[size] = '\0';
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void put_string(struct buf *out, size_t i, const char *text) {
    if (i > 0)
        buf_putc(out, ',');
    buf_json_string(out, text, strlen(text));
}

static void put_strings(struct buf *out, const char *const *list) {
    buf_putc(out, '[');
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        put_string(out, i, list[i]);
    buf_putc(out, ']');
}

static void put_program(struct buf *out, const struct program_source *p) {
    buf_puts(out, "{\"argv\":");
    put_strings(out, p->argv);
    buf_puts(out, ",\"env\":");
    put_strings(out, p->env);
    buf_puts(out, ",\"source\":");
    put_string(out, 0, p->source);
    buf_printf(out, ",\"start\":%d}", (int)p->start);
}

int sources_write(const struct pool_sources *s) {
    struct buf out = {0};
    buf_puts(&out, "{\"names\":[");
    for (size_t i = 0; i < host_count(); i++)
        put_string(&out, i, host_name(i));
    buf_puts(&out, "],\"plugins\":[");
    for (size_t i = 0; i < s->plugin_count; i++)
        put_string(&out, i, s->plugins[i]);
    buf_puts(&out, "],\"programs\":[");
    for (size_t i = 0; i < s->program_count; i++) {
        if (i > 0)
            buf_putc(&out, ',');
        put_program(&out, &s->programs[i]);
    }
    buf_printf(&out, "],\"load_timeout_ns\":%lld}", (long long)s->load_timeout_ns);
    int fd = sources_seal("offload-sources", &out);
    buf_deinit(&out);
    return fd;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static const char *keep(struct arena *a, const json_t *text) {
    const char *string = json_string_value(text);
    if (string == NULL)
        a->failed = true;
    return string == NULL ? NULL : arena_text(a, string, json_string_length(text));
}

static const char *const *keep_strings(struct arena *a, const json_t *list) {
    size_t count = json_array_size(list);
    const char **texts = arena_take(a, (count + 1) * sizeof *texts);
    for (size_t i = 0; texts != NULL && i < count; i++)
        texts[i] = keep(a, json_array_get(list, i));
    return texts;
}

static void keep_program(struct arena *a, const json_t *from, struct program_source *p) {
    p->argv = keep_strings(a, json_object_get(from, "argv"));
    p->env = keep_strings(a, json_object_get(from, "env"));
    p->source = keep(a, json_object_get(from, "source"));
    p->start = (enum program_start)json_integer_value(json_object_get(from, "start"));
}

static int take(const json_t *from, struct pool_sources *s, struct arena *a) {
    const json_t *names = json_object_get(from, "names"), *programs = json_object_get(from, "programs");
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name == NULL || host_number(name) != (int)i)
            return -1;
    }
    s->load_timeout_ns = json_integer_value(json_object_get(from, "load_timeout_ns"));
    s->plugin_count = json_array_size(json_object_get(from, "plugins"));
    s->plugins = keep_strings(a, json_object_get(from, "plugins"));
    s->program_count = json_array_size(programs);
    struct program_source *list = arena_take(a, (s->program_count + 1) * sizeof *list);
    for (size_t i = 0; list != NULL && i < s->program_count; i++)
        keep_program(a, json_array_get(programs, i), &list[i]);
    s->programs = list;
    return a->failed ? -1 : 0;
}

int sources_read(int fd, struct pool_sources *s, struct arena *memory) {
    struct buf text = {0};
    memset(s, 0, sizeof *s);
    json_t *root = sources_unseal(fd, MAX_BYTES, &text) == 0 ? json_loadb(text.data, text.size, 0, NULL) : NULL;
    int rc = root == NULL ? -1 : take(root, s, memory);
    json_decref(root);
    buf_deinit(&text);
    return rc;
}
