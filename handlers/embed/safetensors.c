/* safetensors.c: reads a file of tensors (safetensors.h). It runs in the zygote, once for each model.
 *
 * The file is mapped, not read: what is aligned can be used where it lies. All that the header says is checked when it is
 * opened, so that no tensor of it can lead out of the file. */
#include "handlers/embed/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PREFIX = 8, /* bytes that say how large the header is */
    SHOWN = 80  /* characters of a name that a message shows */
};

struct safetensors {
    const unsigned char *data; /* behind the header */
    uint64_t size;             /* of the data */
    json_t *header;
    void *map; /* NULL: the memory is the caller's */
    size_t map_size;
};

__attribute__((format(printf, 2, 3))) static int refuse(char *why, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, SAFETENSORS_WHY, format, arguments);
    va_end(arguments);
    return -1;
}

/* ---- one tensor -------------------------------------------------------------------------------------------------- */

static enum tensor_dtype dtype_of(const char *name) {
    static const char *const names[] = {[TENSOR_F32] = "F32", [TENSOR_F16] = "F16", [TENSOR_BF16] = "BF16"};
    for (int i = 0; i < TENSOR_OTHER; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum tensor_dtype)i;
    return TENSOR_OTHER;
}

static size_t bytes_of(enum tensor_dtype dtype) {
    return dtype == TENSOR_F32 ? 4 : 2;
}

static bool is_natural(const json_t *number) {
    return json_is_integer(number) && json_integer_value(number) >= 0;
}

/* Fills in the shape and count. False: it is no shape, or its product is beyond 64 bits. */
static bool read_shape(const json_t *shape, struct tensor *t) {
    if (!json_is_array(shape) || json_array_size(shape) > SAFETENSORS_MAX_DIMENSIONS)
        return false;
    t->dimensions = (unsigned)json_array_size(shape);
    t->count = 1;
    for (unsigned i = 0; i < t->dimensions; i++) {
        const json_t *length = json_array_get(shape, i);
        if (!is_natural(length))
            return false;
        t->shape[i] = (uint64_t)json_integer_value(length);
        if (__builtin_mul_overflow(t->count, t->shape[i], &t->count))
            return false;
    }
    return true;
}

/* Fills in the bytes and their size. False: they are not in the file. */
static bool read_place(const struct safetensors *s, const json_t *offsets, struct tensor *t) {
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !is_natural(begin) || !is_natural(end))
        return false;
    uint64_t from = (uint64_t)json_integer_value(begin), to = (uint64_t)json_integer_value(end);
    if (from > to || to > s->size)
        return false;
    t->bytes = s->data + from;
    t->size = to - from;
    return true;
}

static int read_tensor(const struct safetensors *s, const char *name, const json_t *entry, struct tensor *t,
                       char *why) {
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    memset(t, 0, sizeof *t);
    if (dtype == NULL)
        return refuse(why, "has a tensor \"%.*s\" without a dtype", SHOWN, name);
    t->dtype = dtype_of(dtype);
    if (!read_shape(json_object_get(entry, "shape"), t))
        return refuse(why, "has a tensor \"%.*s\" whose shape is wrong", SHOWN, name);
    if (!read_place(s, json_object_get(entry, "data_offsets"), t))
        return refuse(why, "has a tensor \"%.*s\" that does not lie within it: is it cut off?", SHOWN, name);
    uint64_t size;
    if (t->dtype != TENSOR_OTHER && (__builtin_mul_overflow(t->count, bytes_of(t->dtype), &size) || size != t->size))
        return refuse(why, "has a tensor \"%.*s\" whose shape and data_offsets disagree", SHOWN, name);
    return 0;
}

/* ---- the header -------------------------------------------------------------------------------------------------- */

/* Names go into messages, which are one line of printable characters. */
static bool is_plain(const char *name) {
    for (; *name != '\0'; name++)
        if (*name < ' ' || *name > '~')
            return false;
    return true;
}

static int check_tensors(const struct safetensors *s, char *why) {
    const char *name;
    json_t *entry;
    struct tensor t;
    json_object_foreach(s->header, name, entry) {
        if (!is_plain(name))
            return refuse(why, "has a tensor whose name is not printable ASCII");
        if (strcmp(name, "__metadata__") != 0 && read_tensor(s, name, entry, &t, why) != 0)
            return -1;
    }
    return 0;
}

static uint64_t read_prefix(const unsigned char *bytes) {
    uint64_t size = 0;
    for (int i = 0; i < PREFIX; i++)
        size |= (uint64_t)bytes[i] << 8 * i;
    return size;
}

static int refuse_json(const json_error_t *error, char *why) {
    switch (json_error_code(error)) {
    case json_error_out_of_memory: return refuse(why, "does not fit into the memory");
    case json_error_duplicate_key: return refuse(why, "has a name twice in its header");
    default: return refuse(why, "has a header that is not JSON, near byte %d", PREFIX + error->position);
    }
}

static int read_header(struct safetensors *s, const unsigned char *bytes, size_t size, char *why) {
    json_error_t error;
    uint64_t length = size < PREFIX ? 0 : read_prefix(bytes);
    if (size < PREFIX || length > size - PREFIX)
        return refuse(why, "is cut off in its header, or is not a safetensors file");
    if (length > SAFETENSORS_MAX_HEADER)
        return refuse(why, "has a header of %" PRIu64 " bytes, and %d are the most", length, SAFETENSORS_MAX_HEADER);
    s->data = bytes + PREFIX + length;
    s->size = size - PREFIX - length;
    s->header = json_loadb((const char *)bytes + PREFIX, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (s->header == NULL)
        return refuse_json(&error, why);
    if (!json_is_object(s->header))
        return refuse(why, "has a header that is not a JSON object");
    return check_tensors(s, why);
}

struct safetensors *safetensors_read(const void *bytes, size_t size, char why[SAFETENSORS_WHY]) {
    struct safetensors *s = calloc(1, sizeof *s);
    if (s == NULL) {
        refuse(why, "does not fit into the memory");
        return NULL;
    }
    if (read_header(s, bytes, size, why) == 0)
        return s;
    safetensors_close(s);
    return NULL;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

/* O_NONBLOCK: the name could be that of a pipe, at which open would wait. NULL with `why`. */
static void *map_file(const char *path, size_t *size, char *why) {
    struct stat st;
    void *map = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        refuse(why, "cannot be opened: %s", strerror(errno));
        return NULL;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        refuse(why, "is not a file");
    else if (st.st_size < PREFIX || (uintmax_t)st.st_size > PTRDIFF_MAX)
        refuse(why, "is cut off in its header, or is not a safetensors file");
    else {
        *size = (size_t)st.st_size;
        map = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            refuse(why, "cannot be mapped: %s", strerror(errno));
            map = NULL;
        }
    }
    close(fd);
    return map;
}

struct safetensors *safetensors_open(const char *path, char why[SAFETENSORS_WHY]) {
    size_t size = 0;
    void *map = map_file(path, &size, why);
    if (map == NULL)
        return NULL;
    struct safetensors *s = safetensors_read(map, size, why);
    if (s == NULL) {
        munmap(map, size);
        return NULL;
    }
    s->map = map;
    s->map_size = size;
    return s;
}

void safetensors_close(struct safetensors *s) {
    if (s == NULL)
        return;
    json_decref(s->header);
    if (s->map != NULL)
        munmap(s->map, s->map_size);
    free(s);
}

bool safetensors_find(const struct safetensors *s, const char *name, struct tensor *t) {
    char why[SAFETENSORS_WHY];
    const json_t *entry = json_object_get(s->header, name);
    return entry != NULL && strcmp(name, "__metadata__") != 0 && read_tensor(s, name, entry, t, why) == 0;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

const float *tensor_in_place(const struct tensor *t) {
    bool native = t->dtype == TENSOR_F32 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    return native && (uintptr_t)t->bytes % sizeof(float) == 0 ? (const float *)(const void *)t->bytes : NULL;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Half precision (IEEE 754 binary16): 1 sign, 5 bits of exponent, 10 of fraction. All of its numbers are floats. */
static float float_of_half(uint32_t half) {
    uint32_t sign = (half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
    if (exponent == 31)
        return float_of(sign | 0x7f800000 | fraction << 13); /* infinite, or not a number */
    if (exponent != 0)
        return float_of(sign | (exponent + 127 - 15) << 23 | fraction << 13);
    float tiny = (float)fraction * 0x1p-24f;
    return sign != 0 ? -tiny : tiny;
}

void tensor_copy(const struct tensor *t, float *to) {
    const unsigned char *at = t->bytes;
    if (t->dtype == TENSOR_F32 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) {
        memcpy(to, at, t->count * sizeof *to);
        return;
    }
    for (uint64_t i = 0; i < t->count; i++, at += bytes_of(t->dtype)) {
        uint32_t low = at[0] | (uint32_t)at[1] << 8;
        if (t->dtype == TENSOR_F32)
            to[i] = float_of(low | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
        else
            to[i] = t->dtype == TENSOR_F16 ? float_of_half(low) : float_of(low << 16);
    }
}
