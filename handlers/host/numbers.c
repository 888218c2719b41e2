/* numbers.c: packs lists of numbers, checks them, and reads them for the handlers (numbers.h, handler.h).
 *
 * A real of few digits is kept as the decimal that the client wrote: 0.1 takes two bytes, where a double takes eight.
 * Its digits and a power of ten up to 10^22 are exact in a double, so that one multiplication or division gives the
 * double that strtod gives (W. D. Clinger, "How to read floating point numbers accurately", 1990).
 *
 * It packs in the front end for small submissions, and in workers for large ones. It reads in workers. */
#include "handlers/host/numbers.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALL_END = 192,
    SMALL_ZERO = 64,
    INTEGER_1 = 192,
    INTEGER_8 = 199,
    FLOAT = 200,
    DOUBLE = 201,
    DECIMAL_WIDE = 202,
    DIGITS = 203,
    DECIMAL_FIRST = 208,
    DECIMAL_LAST = 252,
    DECIMAL_ZERO = 230,
    POWER_MAX = 22,       /* 10^22 is the last power of ten that a double holds */
    SHORT_DIGITS = 15,    /* every integer of so many digits is exact in a double */
    DIGITS_FRONT = 5,     /* bytes of DIGITS before the digits */
    DOUBLE_PAYS_FROM = 7, /* a text of so many characters is not shorter than a packed double */
    REAL_ROOM = 48
};

static const double powers_of_10[POWER_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* ---- packing ----------------------------------------------------------------------------------------------------- */

static unsigned width_of(int64_t value) {
    uint64_t magnitude = (uint64_t)(value < 0 ? ~value : value);
    unsigned bits = magnitude == 0 ? 1 : 65 - (unsigned)__builtin_clzll(magnitude); /* with the sign */
    return (bits + 7) / 8;
}

void numbers_put_i64(struct buf *to, int64_t value) {
    if (value >= -SMALL_ZERO && value < SMALL_END - SMALL_ZERO) {
        buf_putc(to, (char)(value + SMALL_ZERO));
        return;
    }
    unsigned width = width_of(value);
    char bytes[9] = {(char)(INTEGER_1 + width - 1)};
    for (unsigned i = 0; i < width; i++)
        bytes[1 + i] = (char)((uint64_t)value >> (8 * i));
    buf_append(to, bytes, 1 + width);
}

/* 9e18 takes fewer bytes as a digit and zeros than as an integer of 8 bytes. */
void numbers_put_integer(struct buf *to, const struct integer *integer) {
    int64_t value;
    size_t size = integer->size;
    while (size > 1 && integer->digits[size - 1] == '0')
        size--;
    if (number_to_i64(integer->digits, integer->size, &value) && 1 + width_of(value) <= DIGITS_FRONT + size) {
        numbers_put_i64(to, value);
        return;
    }
    uint16_t front[2] = {(uint16_t)(integer->size - size), (uint16_t)size};
    buf_putc(to, (char)DIGITS);
    buf_append(to, front, sizeof front);
    buf_append(to, integer->digits, size);
}

/* A real as it is written: m * 10^exponent. */
struct decimal_text {
    int64_t m;
    int exponent;
};

/* False if it is not a JSON number, if it has no point and no exponent, if it has too many digits, or if it is -0. */
static bool read_decimal(const char *text, size_t size, struct decimal_text *d) {
    const char *at = text, *end = text + size;
    bool negative = at < end && *at == '-';
    at += negative;
    int64_t m = 0;
    int digits = 0, fraction = 0, written = 0;
    for (; at < end && *at >= '0' && *at <= '9' && digits <= SHORT_DIGITS; at++, digits++)
        m = m * 10 + (*at - '0');
    if (digits == 0)
        return false;
    bool real = at < end && (*at == '.' || *at == 'e' || *at == 'E');
    if (at < end && *at == '.')
        for (at++; at < end && *at >= '0' && *at <= '9' && digits <= SHORT_DIGITS; at++, digits++, fraction++)
            m = m * 10 + (*at - '0');
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        bool down = at < end && *at == '-';
        at += at < end && (*at == '-' || *at == '+');
        for (; at < end && *at >= '0' && *at <= '9' && written < 1000; at++)
            written = written * 10 + (*at - '0');
        written = down ? -written : written;
    }
    if (at != end || !real || digits > SHORT_DIGITS || (m == 0 && negative))
        return false;
    *d = (struct decimal_text){negative ? -m : m, written - fraction};
    return true;
}

bool numbers_put_short_real(struct buf *to, const char *text, size_t size) {
    struct decimal_text d;
    if (!read_decimal(text, size, &d) || d.exponent < -POWER_MAX || d.exponent > POWER_MAX)
        return false;
    buf_putc(to, (char)(DECIMAL_ZERO + d.exponent));
    numbers_put_i64(to, d.m);
    return true;
}

static double wide_decimal(int64_t m, int exponent) {
    char text[REAL_ROOM];
    snprintf(text, sizeof text, "%" PRId64 "e%d", m, exponent);
    return strtod(text, NULL);
}

static void put_exactly(struct buf *to, double value) {
    float narrow = (float)value;
    if ((double)narrow == value) {
        buf_putc(to, (char)FLOAT);
        buf_append(to, &narrow, sizeof narrow);
        return;
    }
    buf_putc(to, (char)DOUBLE);
    buf_append(to, &value, sizeof value);
}

void numbers_put_real(struct buf *to, double value, const char *text, size_t size) {
    struct decimal_text d;
    if (size >= DOUBLE_PAYS_FROM || !read_decimal(text, size, &d) || wide_decimal(d.m, d.exponent) != value) {
        put_exactly(to, value);
        return;
    }
    int16_t exponent = (int16_t)d.exponent;
    buf_putc(to, (char)DECIMAL_WIDE);
    buf_append(to, &exponent, sizeof exponent);
    numbers_put_i64(to, d.m);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Reads the integer at *at and moves *at behind it. False if there is none before `end`. */
static bool take_i64(const unsigned char **at, const unsigned char *end, int64_t *value) {
    const unsigned char *p = *at;
    if (p == end || *p > INTEGER_8)
        return false;
    if (*p < SMALL_END) {
        *value = *p - SMALL_ZERO;
        *at = p + 1;
        return true;
    }
    unsigned width = *p - INTEGER_1 + 1u;
    if ((size_t)(end - p) < 1 + width)
        return false;
    uint64_t bits = 0;
    for (unsigned i = 0; i < width; i++)
        bits |= (uint64_t)p[1 + i] << (8 * i);
    unsigned unused = 64 - 8 * width;
    *value = (int64_t)(bits << unused) >> unused;
    *at = p + 1 + width;
    return true;
}

/* Behind the number at `at`. NULL if it does not end before `end`, or is of no kind. */
static const unsigned char *number_end(const unsigned char *at, const unsigned char *end) {
    size_t left = (size_t)(end - at), size = 1;
    uint16_t front[2] = {0, 0};
    if (*at >= INTEGER_1 && *at <= INTEGER_8) {
        size = *at - INTEGER_1 + 2u;
    } else if (*at >= SMALL_END) {
        size_t before = *at == DECIMAL_WIDE ? 3 : 1;
        switch (*at) {
        case FLOAT: size = 1 + sizeof(float); break;
        case DOUBLE: size = 1 + sizeof(double); break;
        case DIGITS:
            if (left < DIGITS_FRONT)
                return NULL;
            memcpy(front, at + 1, sizeof front);
            size = DIGITS_FRONT + (size_t)front[1];
            break;
        default:
            if ((*at != DECIMAL_WIDE && (*at < DECIMAL_FIRST || *at > DECIMAL_LAST)) || left <= before ||
                at[before] > INTEGER_8)
                return NULL;
            size = before + (at[before] < SMALL_END ? 1 : at[before] - INTEGER_1 + 2u);
        }
    }
    return size <= left ? at + size : NULL;
}

/* Reads an integer whose digits are written. */
static bool read_digits(const unsigned char *at, struct number_reader *r, struct number *n) {
    uint16_t front[2];
    memcpy(front, at + 1, sizeof front);
    size_t zeros = front[0], size = front[1];
    const char *digits = (const char *)at + DIGITS_FRONT;
    if (zeros + size > HANDLER_MAX_DIGITS + 1 || !number_is_canonical(digits, size) || (zeros > 0 && *digits == '0'))
        return false;
    memcpy(r->room, digits, size);
    memset(r->room + size, '0', zeros);
    r->room[size + zeros] = '\0';
    n->digits = r->room;
    n->size = size + zeros;
    n->kind = number_to_i64(n->digits, n->size, &n->integer) ? NUMBER_INTEGER : NUMBER_LARGE;
    return true;
}

static double short_decimal(int64_t m, int exponent) {
    return exponent >= 0 ? (double)m * powers_of_10[exponent] : (double)m / powers_of_10[-exponent];
}

/* Reads a number that number_end has found to be complete. */
static bool read_real(const unsigned char *at, const unsigned char *end, struct number *n) {
    float narrow;
    int16_t exponent;
    int64_t m;
    const unsigned char *p = at + 1;
    n->kind = NUMBER_REAL;
    switch (*at) {
    case FLOAT:
        memcpy(&narrow, p, sizeof narrow);
        n->real = (double)narrow;
        break;
    case DOUBLE: memcpy(&n->real, p, sizeof n->real); break;
    case DECIMAL_WIDE:
        memcpy(&exponent, p, sizeof exponent);
        p += sizeof exponent;
        if (!take_i64(&p, end, &m))
            return false;
        n->real = wide_decimal(m, exponent);
        break;
    default:
        if (!take_i64(&p, end, &m))
            return false;
        n->real = short_decimal(m, *at - DECIMAL_ZERO);
    }
    return isfinite(n->real);
}

void numbers_begin(struct number_reader *r, const struct numbers *n) {
    r->at = n->packed.data;
    r->end = r->at + n->packed.size;
    r->left = n->count;
}

static int next_long(struct number_reader *r, struct number *n) {
    const unsigned char *start = r->at, *end = number_end(start, r->end);
    if (end == NULL || !(*start == DIGITS ? read_digits(start, r, n) : read_real(start, end, n)))
        return -1;
    r->at = end;
    return 1;
}

int numbers_next(struct number_reader *r, struct number *n) {
    if (r->at == r->end || r->left == 0)
        return r->at == r->end && r->left == 0 ? 0 : -1;
    r->left--;
    if (*r->at > INTEGER_8)
        return next_long(r, n);
    n->kind = NUMBER_INTEGER;
    return take_i64(&r->at, r->end, &n->integer) ? 1 : -1;
}

int numbers_skip(struct number_reader *r, size_t count) {
    const unsigned char *at = r->at;
    if (count > r->left)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (at == r->end)
            return -1;
        at = *at < SMALL_END ? at + 1 : number_end(at, r->end);
        if (at == NULL)
            return -1;
    }
    r->at = at;
    r->left -= count;
    return 0;
}

bool chunk_numbers(struct bytes chunk, struct numbers *out) {
    uint64_t count;
    memset(out, 0, sizeof *out);
    if (chunk.size < sizeof count)
        return false;
    memcpy(&count, chunk.data, sizeof count);
    out->count = count;
    out->packed = (struct bytes){(const char *)chunk.data + sizeof count, chunk.size - sizeof count};
    return true;
}

bool numbers_check(const struct numbers *list, bool reals) {
    struct number_reader r;
    struct number n;
    bool any_large = false;
    int rc;
    numbers_begin(&r, list);
    while ((rc = numbers_next(&r, &n)) > 0) {
        if (n.kind == NUMBER_REAL && !reals)
            return false;
        any_large |= n.kind == NUMBER_LARGE;
    }
    return rc == 0 && any_large == list->any_large;
}
