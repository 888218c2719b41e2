/* weights.c: takes the tensors of a model out of its file (weights.h). It runs in the zygote, once for each model. */
#include "handlers/embed/weights.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "handlers/embed/safetensors.h"

enum { ALIGNMENT = 64 /* of a tensor in memory of its own */ };

_Static_assert((int)WEIGHTS_WHY >= (int)SAFETENSORS_WHY, "a reason of the file fits");

/* A tensor in memory of its own, which is a mapping so that it surely goes back to the system. Its numbers begin ALIGNMENT
 * bytes behind the start. */
struct copy {
    struct copy *next;
    size_t size; /* of all of it */
};

struct weights {
    struct safetensors *file; /* NULL once the layers are dropped */
    const char *prefix;       /* "" or "bert." */
    struct copy *kept, *dropped;
};

__attribute__((format(printf, 2, 3))) static int refuse(char *why, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, WEIGHTS_WHY, format, arguments);
    va_end(arguments);
    return -1;
}

struct weights *weights_open(const char *path, char why[WEIGHTS_WHY]) {
    struct tensor t;
    struct weights *w = calloc(1, sizeof *w);
    if (w == NULL) {
        refuse(why, "does not fit into the memory");
        return NULL;
    }
    w->file = safetensors_open(path, why);
    if (w->file == NULL) {
        free(w);
        return NULL;
    }
    w->prefix = safetensors_find(w->file, "bert.embeddings.word_embeddings.weight", &t) ? "bert." : "";
    return w;
}

static void free_copies(struct copy **list) {
    while (*list != NULL) {
        struct copy *c = *list;
        *list = c->next;
        munmap(c, c->size);
    }
}

void weights_close(struct weights *w) {
    if (w == NULL)
        return;
    free_copies(&w->kept);
    free_copies(&w->dropped);
    safetensors_close(w->file);
    free(w);
}

void weights_drop(struct weights *w) {
    free_copies(&w->dropped);
    safetensors_close(w->file);
    w->file = NULL;
}

/* NULL: there is no memory. */
static const float *copy_tensor(struct copy **list, const struct tensor *t) {
    size_t size;
    if (__builtin_mul_overflow(t->count, sizeof(float), &size) || __builtin_add_overflow(size, ALIGNMENT, &size))
        return NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    struct copy *c = memory;
    c->next = *list;
    c->size = size;
    *list = c;
    float *numbers = (float *)memory + ALIGNMENT / sizeof(float);
    tensor_copy(t, numbers);
    mprotect(memory, size, PROT_READ);
    return numbers;
}

/* What is dropped soon is used where it lies. What stays is copied, so that nothing of the file is read later: it can be
 * written to meanwhile, or cut off. */
static const float *numbers_of(struct weights *w, const struct tensor *t, bool dropped) {
    const float *in_place = dropped ? tensor_in_place(t) : NULL;
    return in_place != NULL ? in_place : copy_tensor(dropped ? &w->dropped : &w->kept, t);
}

/* One that is not finite would make all vectors so. */
static bool are_finite(const float *numbers, uint64_t count) {
    uint32_t bad = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, numbers + i, sizeof bits);
        bad |= (bits & 0x7f800000) == 0x7f800000;
    }
    return bad == 0;
}

static bool has_shape(const struct tensor *t, uint32_t rows, uint32_t columns) {
    if (columns == 0)
        return t->dimensions == 1 && t->shape[0] == rows;
    return t->dimensions == 2 && t->shape[0] == rows && t->shape[1] == columns;
}

int weights_take(struct weights *w, const struct weights_wanted *wanted, const float **numbers, char why[WEIGHTS_WHY]) {
    char name[160], shape[40];
    struct tensor t;
    snprintf(name, sizeof name, "%s%s.%s", w->prefix, wanted->name, wanted->kind);
    snprintf(shape, sizeof shape, wanted->columns == 0 ? "%u" : "%u, %u", wanted->rows, wanted->columns);
    if (!safetensors_find(w->file, name, &t))
        return refuse(why, "has no tensor \"%s\"", name);
    if (!has_shape(&t, wanted->rows, wanted->columns))
        return refuse(why, "has the tensor \"%s\" in another shape than the [%s] of config.json", name, shape);
    if (t.dtype == TENSOR_OTHER)
        return refuse(why, "has the tensor \"%s\" in another dtype than F32, F16 and BF16", name);
    *numbers = numbers_of(w, &t, wanted->dropped);
    if (*numbers == NULL)
        return refuse(why, "does not fit into the memory");
    return are_finite(*numbers, t.count) ? 0 : refuse(why, "has numbers in \"%s\" that are not finite", name);
}
