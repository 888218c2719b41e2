/* number.c: exact numbers as text (number.h). Integers are handled as decimal digits, so no step can round.
 *
 * The result of 1,000 embeddings has 400,000 floats. To try printf's %.6g to %.9g for each of them takes most of a
 * second. So the candidate of n digits is computed as an integer d = round(x * 10^k), and proved by a division. d and
 * 10^k are exact in a double, so d / 10^k is the correctly rounded double. To narrow it to a float rounds d / 10^k
 * correctly, too, unless the double is exactly half-way between two floats. Such a candidate is not used. A float that
 * is not proved with 9 digits is printed the slow way.
 *
 * It runs in the front end and in workers. */
#include "handlers/host/number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- decimal text -> integer ------------------------------------------------------------------------------------- */

/* A JSON number, taken apart: its sign, the digits around the point, the exponent. */
struct decimal {
    bool negative;
    const char *whole, *fraction;
    size_t whole_size, fraction_size;
    int64_t exponent;
};

/* What is beyond this does not change the result, because no text has so many digits. */
#define EXPONENT_CAP INT64_C(1000000000000)

static size_t count_digits(const char *text, const char *end) {
    const char *at = text;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return (size_t)(at - text);
}

static bool parse_exponent(const char *text, const char *end, int64_t *exponent) {
    bool negative = text < end && *text == '-';
    if (text < end && (*text == '-' || *text == '+'))
        text++;
    if (text == end || count_digits(text, end) != (size_t)(end - text))
        return false;
    int64_t value = 0;
    for (; text < end; text++)
        value = value > EXPONENT_CAP ? value : value * 10 + (*text - '0');
    *exponent = negative ? -value : value;
    return true;
}

static bool parse_decimal(const char *text, size_t size, struct decimal *d) {
    const char *end = text + size;
    memset(d, 0, sizeof *d);
    d->negative = text < end && *text == '-';
    text += d->negative;
    d->whole = text;
    d->whole_size = count_digits(text, end);
    text += d->whole_size;
    if (d->whole_size == 0)
        return false;
    if (text < end && *text == '.') {
        d->fraction = ++text;
        d->fraction_size = count_digits(text, end);
        text += d->fraction_size;
        if (d->fraction_size == 0)
            return false;
    }
    if (text < end && (*text == 'e' || *text == 'E'))
        return parse_exponent(text + 1, end, &d->exponent);
    return text == end;
}

static char digit_at(const struct decimal *d, size_t i) {
    return i < d->whole_size ? d->whole[i] : d->fraction[i - d->whole_size];
}

bool number_is_canonical(const char *text, size_t size) {
    const char *end = text + size;
    bool negative = size > 0 && *text == '-';
    text += negative;
    size_t digits = count_digits(text, end);
    if (digits == 0 || digits != (size_t)(end - text))
        return false;
    return *text != '0' || (digits == 1 && !negative);
}

enum number_error number_to_integer(const char *text, size_t size, struct integer *out) {
    struct decimal d;
    if (size <= HANDLER_MAX_DIGITS && number_is_canonical(text, size)) { /* as most are */
        memcpy(out->digits, text, size);
        out->digits[size] = '\0';
        out->size = size;
        return NUMBER_OK;
    }
    if (!parse_decimal(text, size, &d))
        return NUMBER_NOT_ONE;
    size_t first = 0, end = d.whole_size + d.fraction_size;
    while (first < end && digit_at(&d, first) == '0')
        first++;
    while (end > first && digit_at(&d, end - 1) == '0')
        end--;
    if (first == end) {
        number_from_i64(0, out);
        return NUMBER_OK;
    }
    int64_t point = (int64_t)d.whole_size + d.exponent; /* where the decimal point is among the digits */
    if ((int64_t)end > point)
        return NUMBER_FRACTION;
    if (point - (int64_t)first > HANDLER_MAX_DIGITS)
        return NUMBER_TOO_LONG;
    char *to = out->digits;
    if (d.negative)
        *to++ = '-';
    for (size_t i = first; i < (size_t)point; i++)
        *to++ = i < end ? digit_at(&d, i) : '0';
    *to = '\0';
    out->size = (size_t)(to - out->digits);
    return NUMBER_OK;
}

void number_from_i64(int64_t value, struct integer *out) {
    char reversed[20];
    size_t n = 0;
    uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do {
        reversed[n++] = (char)('0' + left % 10);
        left /= 10;
    } while (left != 0);
    char *to = out->digits;
    if (value < 0)
        *to++ = '-';
    while (n > 0)
        *to++ = reversed[--n];
    *to = '\0';
    out->size = (size_t)(to - out->digits);
}

int number_compare(const char *a, size_t a_size, const char *b, size_t b_size) {
    bool a_negative = *a == '-', b_negative = *b == '-';
    if (a_negative != b_negative)
        return a_negative ? -1 : 1;
    int larger = a_negative ? -1 : 1; /* the result if the magnitude of a is larger */
    if (a_size != b_size)
        return a_size > b_size ? larger : -larger;
    int order = memcmp(a, b, a_size);
    return order > 0 ? larger : order < 0 ? -larger : 0;
}

/* It is inlined, because most numbers have a few digits. */
static inline bool read_digits(const char *digits, size_t size, uint64_t *value) {
    if (size == 0 || size > 20 || *digits == '-')
        return false;
    uint64_t sum = 0;
    size_t i = 0;
    for (; i < size && i < 19; i++) /* 10^19 is below 2^64 */
        sum = sum * 10 + (uint64_t)(digits[i] - '0');
    if (i < size &&
        (__builtin_mul_overflow(sum, 10, &sum) || __builtin_add_overflow(sum, (uint64_t)(digits[i] - '0'), &sum)))
        return false;
    *value = sum;
    return true;
}

bool number_to_u64(const char *digits, size_t size, uint64_t *value) {
    return read_digits(digits, size, value);
}

bool number_to_i64(const char *digits, size_t size, int64_t *value) {
    bool negative = size > 0 && *digits == '-';
    uint64_t magnitude;
    if (!read_digits(digits + negative, size - negative, &magnitude))
        return false;
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return false;
    *value = negative ? (int64_t)(-magnitude) : (int64_t)magnitude;
    return true;
}

/* ---- floating point -> text -------------------------------------------------------------------------------------- */

static const double powers_of_10[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14};

/* printf's %g writes 3, not 3.0. JSON readers that tell integers from reals need a point or an exponent. */
static void put_general(struct buf *to, const char *text) {
    buf_puts(to, text);
    if (text[strcspn(text, ".e")] == '\0')
        buf_puts(to, ".0");
}

/* A normal value keeps DBL_DIG digits, so fewer need not be tried: printf drops the zeros. A denormal keeps fewer. */
void number_put_double(struct buf *to, double value) {
    char text[40];
    for (int digits = fabs(value) < DBL_MIN ? 1 : DBL_DIG; digits <= DBL_DECIMAL_DIG; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    put_general(to, text);
}

static void put_float_slowly(struct buf *to, float value) {
    char text[40];
    for (int digits = fabsf(value) < FLT_MIN ? 1 : FLT_DIG; digits <= FLT_DECIMAL_DIG; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    put_general(to, text);
}

/* Is it proved that digits / 10^scale reads back as this float? */
static bool reads_back(uint64_t digits, int scale, float value) {
    double quotient = (double)digits / powers_of_10[scale];
    uint64_t bits;
    memcpy(&bits, &quotient, sizeof bits);
    bool half_way = (bits & 0x1FFFFFFF) == 0x10000000; /* the 29 bits that a float drops */
    return !half_way && (float)quotient == value;
}

/* Appends digits / 10^scale in plain notation: at least one digit behind the point, but no more zeros at the end. */
static void put_scaled(struct buf *to, bool negative, uint64_t digits, int scale) {
    char text[32];
    char *at = text + sizeof text;
    for (; scale > 1 && digits % 10 == 0; scale--)
        digits /= 10;
    if (scale == 0) {
        *--at = '0';
        *--at = '.';
    }
    do {
        *--at = (char)('0' + digits % 10);
        digits /= 10;
        if (--scale == 0)
            *--at = '.';
    } while (digits != 0 || scale >= 0);
    if (negative)
        *--at = '-';
    buf_append(to, at, (size_t)(text + sizeof text - at));
}

/* How many digits a magnitude from 1e-5 up to 1e6 has before the point. 0.05 has -1. */
static int count_whole_digits(double magnitude) {
    static const double bounds[] = {1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5};
    int whole = -4;
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0] && magnitude >= bounds[i]; i++)
        whole++;
    return whole;
}

void number_put_float(struct buf *to, float value) {
    float magnitude = fabsf(value);
    if (value == 0) {
        buf_puts(to, signbit(value) ? "-0.0" : "0.0");
        return;
    }
    if (magnitude >= 1e-5f && magnitude < 1e6f) {
        int whole = count_whole_digits((double)magnitude);
        for (int scale = FLT_DIG - whole; scale <= FLT_DECIMAL_DIG - whole; scale++) {
            uint64_t digits = (uint64_t)((double)magnitude * powers_of_10[scale] + 0.5);
            if (reads_back(digits, scale, magnitude)) {
                put_scaled(to, value < 0, digits, scale);
                return;
            }
        }
    }
    put_float_slowly(to, value);
}
