/* number.h: exact numbers as text: from JSON to decimal digits, and from floating point to the shortest text. Private
 * to handlers/host. There is no state here: any thread may call these functions. */
#ifndef OFFLOAD_HOST_NUMBER_H
#define OFFLOAD_HOST_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "handlers/handler.h"

/* The largest integer that every JSON reader keeps, also one that reads numbers into doubles (RFC 8259, section 6). */
#define NUMBER_MAX_EXACT ((INT64_C(1) << 53) - 1)

/* An integer in canonical decimal digits: "-12"; never "-0", "+1", "007". */
struct integer {
    size_t size;
    char digits[HANDLER_MAX_DIGITS + 2]; /* sign, digits, NUL */
};

enum number_error {
    NUMBER_OK,
    NUMBER_NOT_ONE,  /* the text is not a number */
    NUMBER_FRACTION, /* it is not an integer */
    NUMBER_TOO_LONG  /* more than HANDLER_MAX_DIGITS digits */
};

/* Reads the integer that a JSON number means, and computes in decimal: 1.0, 12e2 and 100e-2 are integers. Leading zeros
 * are skipped, since a decimal string can have them. */
enum number_error number_to_integer(const char *text, size_t size, struct integer *out);
void number_from_i64(int64_t value, struct integer *out);
/* Less than 0, 0, or more than 0, as a is less than, equal to, or greater than b. Both must be canonical. */
int number_compare(const char *a, size_t a_size, const char *b, size_t b_size);
bool number_is_canonical(const char *text, size_t size);
/* False if the digits are beyond the type; they must be canonical. */
bool number_to_i64(const char *digits, size_t size, int64_t *value);
bool number_to_u64(const char *digits, size_t size, uint64_t *value);

/* Appends the shortest JSON text that reads back as the same finite value. It always has a point or an exponent:
 * "3.0". */
void number_put_double(struct buf *to, double value);
void number_put_float(struct buf *to, float value);

#endif
