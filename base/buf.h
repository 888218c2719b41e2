/* buf.h: a byte buffer that grows. An append never fails half-way: when memory runs out the buffer keeps what it had,
 * sets `failed`, and ignores all further appends. So look at `failed` once, at the end. Not thread-safe.
 *
 *     struct buf b = {0};
 *     buf_printf(&b, "%d", 7);
 *     if (b.failed) ...
 *     buf_deinit(&b);
 */
#ifndef OFFLOAD_BUF_H
#define OFFLOAD_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf {
    char *data;  /* NUL-terminated after any append; NULL while empty and never used */
    size_t size; /* bytes, without the NUL */
    size_t capacity;
    bool failed;
};

void buf_deinit(struct buf *b); /* frees; the buffer is empty and usable again */
void buf_clear(struct buf *b);  /* empties it, keeps the memory, and forgets that it has failed */
/* Makes room for `more` bytes and a NUL behind the bytes that it has. Returns where they go, or NULL with `failed` set.
 * The caller writes them, and adds to `size`. */
char *buf_reserve(struct buf *b, size_t more);
void buf_append_grown(struct buf *b, const void *bytes, size_t size); /* the slow part of buf_append */

/* Inline, because most appends are of a few bytes, often of a constant size. */
static inline void buf_append(struct buf *b, const void *bytes, size_t size) {
    if (size >= b->capacity - b->size || b->failed) {
        buf_append_grown(b, bytes, size);
        return;
    }
    if (size != 0) /* memcpy does not take NULL */
        memcpy(b->data + b->size, bytes, size);
    b->size += size;
    b->data[b->size] = '\0';
}

static inline void buf_puts(struct buf *b, const char *text) {
    buf_append(b, text, strlen(text));
}

static inline void buf_putc(struct buf *b, char c) {
    buf_append(b, &c, 1);
}

void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_u64(struct buf *b, uint64_t value);
/* Writes the decimal digits of a number, at most 20 and without a NUL. Returns the place behind the last one. */
char *digits_write(char *to, uint64_t value);
/* Appends a JSON string in quotes (RFC 8259 section 7). Bytes that are not UTF-8 (RFC 3629) become U+FFFD. */
void buf_json_string(struct buf *b, const char *text, size_t size);
/* Appends text as UTF-8: bytes that are not (RFC 3629) become U+FFFD. */
void buf_utf8(struct buf *b, const char *text, size_t size);
/* Whether it is UTF-8 without control characters (U+0000 to U+001F, U+007F to U+009F). */
bool utf8_is_printable(const char *text, size_t size);
/* Returns the bytes, which the caller frees with free(). NULL if the buffer was never used. The buffer is empty
 * afterwards. size: NULL if it is not wanted. */
char *buf_steal(struct buf *b, size_t *size);

#endif
