/* buf.c: see buf.h. The memory grows by doubling. Any process. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_deinit(struct buf *b) {
    free(b->data);
    memset(b, 0, sizeof *b);
}

void buf_clear(struct buf *b) {
    b->size = 0;
    b->failed = false;
    if (b->data != NULL)
        b->data[0] = '\0';
}

char *buf_reserve(struct buf *b, size_t more) {
    if (b->failed)
        return NULL;
    if (more >= SIZE_MAX / 2 - b->size) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->size + more + 1;
    if (need > b->capacity) {
        size_t capacity = b->capacity < 64 ? 64 : b->capacity;
        while (capacity < need)
            capacity *= 2;
        char *data = realloc(b->data, capacity);
        if (data == NULL) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->capacity = capacity;
    }
    return b->data + b->size;
}

void buf_append_grown(struct buf *b, const void *bytes, size_t size) {
    char *to = buf_reserve(b, size);
    if (to == NULL)
        return;
    if (size != 0)
        memcpy(to, bytes, size);
    b->size += size;
    b->data[b->size] = '\0';
}

void buf_printf(struct buf *b, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    char *to = buf_reserve(b, 120);
    if (to != NULL) {
        int n = vsnprintf(to, 121, format, args);
        if (n > 120 && buf_reserve(b, (size_t)n) != NULL)
            n = vsnprintf(b->data + b->size, (size_t)n + 1, format, again);
        if (n < 0)
            b->failed = true;
        else if (!b->failed)
            b->size += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

char *digits_write(char *to, uint64_t value) {
    char digits[20];
    size_t i = sizeof digits;
    do {
        digits[--i] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    memcpy(to, digits + i, sizeof digits - i);
    return to + (sizeof digits - i);
}

void buf_u64(struct buf *b, uint64_t value) {
    char digits[20];
    buf_append(b, digits, (size_t)(digits_write(digits, value) - digits));
}

/* Length of the UTF-8 sequence at s (RFC 3629: no overlong forms, no surrogates), or 0 if there is none. */
static size_t utf8_length(const unsigned char *s, size_t left) {
    size_t n = s[0] >= 0xC2 && s[0] <= 0xDF   ? 2
               : s[0] >= 0xE0 && s[0] <= 0xEF ? 3
               : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4
                                              : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    bool bad = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) ||
               (s[0] == 0xF4 && s[1] > 0x8F);
    return bad ? 0 : n;
}

void buf_json_string(struct buf *b, const char *text, size_t size) {
    const unsigned char *s = (const unsigned char *)text;
    buf_putc(b, '"');
    size_t plain = 0; /* start of the run that needs no escape */
    for (size_t i = 0; i < size;) {
        while (i < size && s[i] >= 0x20 && s[i] < 0x80 && s[i] != '"' && s[i] != '\\')
            i++;
        if (i == size)
            break;
        size_t n = s[i] < 0x80 ? 1 : utf8_length(s + i, size - i);
        if (n > 1) {
            i += n;
            continue;
        }
        buf_append(b, text + plain, i - plain);
        if (n == 0)
            buf_puts(b, "\xEF\xBF\xBD");
        else if (s[i] == '"' || s[i] == '\\')
            buf_printf(b, "\\%c", s[i]);
        else if (s[i] == '\n')
            buf_puts(b, "\\n");
        else
            buf_printf(b, "\\u%04x", (unsigned)s[i]);
        plain = ++i;
    }
    buf_append(b, text + plain, size - plain);
    buf_putc(b, '"');
}

void buf_utf8(struct buf *b, const char *text, size_t size) {
    const unsigned char *s = (const unsigned char *)text;
    size_t good = 0; /* start of the run that is UTF-8 */
    for (size_t i = 0; i < size;) {
        size_t n = s[i] < 0x80 ? 1 : utf8_length(s + i, size - i);
        if (n == 0) {
            buf_append(b, text + good, i - good);
            buf_puts(b, "\xEF\xBF\xBD");
            good = i + 1;
        }
        i += n == 0 ? 1 : n;
    }
    buf_append(b, text + good, size - good);
}

bool utf8_is_printable(const char *text, size_t size) {
    const unsigned char *s = (const unsigned char *)text;
    size_t n;
    for (size_t i = 0; i < size; i += n) {
        n = s[i] < 0x80 ? 1 : utf8_length(s + i, size - i);
        if (n == 0 || s[i] < ' ' || s[i] == 0x7F || (s[i] == 0xC2 && s[i + 1] < 0xA0))
            return false;
    }
    return true;
}

char *buf_steal(struct buf *b, size_t *size) {
    char *data = b->data;
    if (size != NULL)
        *size = b->size;
    memset(b, 0, sizeof *b);
    return data;
}
