/* numbers.h: packs lists of numbers so that they take hardly more memory than their JSON text. Private to
 * handlers/host. The handlers read what is packed with the functions of handler.h: numbers_begin and so on. There is no
 * state here: any thread can call these functions.
 *
 * A list is one number behind the other. The first byte of each says what it is. Integers of several bytes are in the
 * byte order of this machine, and need not be aligned.
 *
 *     FIRST BYTE  WHAT FOLLOWS
 *     0..191      nothing: it is the integer `first byte` - 64
 *     192..199    an integer of 1..8 bytes, two's complement, the lowest byte first
 *     200         a float: a real, which it holds exactly
 *     201         a double: a real
 *     202         int16 e, then an integer m, from its own first byte on: the real m * 10^e
 *     203         uint16 zeros, uint16 size, `size` decimal digits: an integer. So many zeros follow the digits
 *     208..252    an integer m, from its own first byte on: the real m * 10^e, where e is `first byte` - 230
 *
 * A chunk of numbers (plan_number_chunk) is the uint64 count of them, and then the list.
 *
 * The bytes are stored in plans: raise WIRE_VERSION (pool/wire.h) with every change of them. */
#ifndef OFFLOAD_HOST_NUMBERS_H
#define OFFLOAD_HOST_NUMBERS_H

#include "base/attributes.h"
#include "base/buf.h"
#include "handlers/handler.h"
#include "handlers/host/number.h"

void numbers_put_i64(struct buf *to, int64_t value);
void numbers_put_integer(struct buf *to, const struct integer *integer);
/* Appends a real if its JSON text is short enough for that to be quick: at most 15 digits, and an exponent near 0.
 * False, and nothing is appended, if it is not a real or not so short. */
bool numbers_put_short_real(struct buf *to, const char *text, size_t size);
/* Appends a real from its value, which is finite, and its JSON text. */
void numbers_put_real(struct buf *to, double value, const char *text, size_t size);

/* Are n->packed n->count numbers, all of them integers unless `reals`, and is n->any_large right? They can be
 * hostile. */
MUST_CHECK bool numbers_check(const struct numbers *n, bool reals);

#endif
