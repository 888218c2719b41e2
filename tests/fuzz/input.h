/* input.h: how a harness takes its input to pieces. All functions read from the front and never beyond the end: an
 * input that is at its end gives zeros and empty ranges. For the harnesses in this folder. */
#ifndef OFFLOAD_TESTS_FUZZ_INPUT_H
#define OFFLOAD_TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A harness: libFuzzer and replay/main.c call it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv); /* once, before; a harness that needs it defines it */

/* Something that must hold whatever the input is. */
#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

struct input {
    const uint8_t *data;
    size_t size;
};

static inline uint8_t take_u8(struct input *in) {
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

static inline uint16_t take_u16(struct input *in) {
    uint16_t low = take_u8(in);
    return (uint16_t)(low | take_u8(in) << 8);
}

static inline uint32_t take_u32(struct input *in) {
    uint32_t low = take_u16(in);
    return low | (uint32_t)take_u16(in) << 16;
}

/* A number that is mostly small, and sometimes at the end of its range. */
static inline uint64_t take_number(struct input *in) {
    static const uint64_t ends[] = {UINT64_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT32_MAX, INT32_MAX, 1ull << 32};
    uint8_t b = take_u8(in);
    if (b < 250)
        return b;
    return ends[b - 250];
}

/* The next `size` bytes, or all that are left. */
static inline struct input take_bytes(struct input *in, size_t size) {
    struct input part = {in->data, size < in->size ? size : in->size};
    in->data += part.size;
    in->size -= part.size;
    return part;
}

/* A copy that is exactly as large, so that the sanitizer sees a read beyond its end. The caller frees it. */
static inline void *exact_copy(const void *bytes, size_t size) {
    void *copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL)
        abort();
    if (size != 0)
        memcpy(copy, bytes, size);
    return copy;
}

#endif
