/* params.h: checks the parameters of a submission against the table of a handler, and packs them into bytes that
 * another process can read in place. Private to handlers/host. Only one thread of a process may call these functions.
 *
 * The packed form starts at an address that is a multiple of 8, and is in the byte order of this machine:
 *
 *     OFFSET  SIZE  FIELD
 *          0     4  magic    PARAMS_MAGIC; it is raised with every change of what follows
 *          4     4  rows     how many rows the handler's table has
 *          8     8  size     of all
 *         16    32  one struct packed_param for each row, in the order of the table
 *                   the values, each at a multiple of 8
 *
 *     KIND      VALUE
 *     INTEGER   canonical decimal digits, NUL
 *     BOOLEAN   none; count is 0 or 1
 *     ENUM      none; count is the index into choices
 *     TEXT      the bytes, NUL
 *     JSON      compact JSON, NUL
 *     TEXTS     count uint32: where each text ends (behind its NUL), counted from the first text; then the texts.
 *               With PACKED_WIDE the ends are uint64
 *     NUMBERS   numbers.h
 */
#ifndef OFFLOAD_HOST_PARAMS_H
#define OFFLOAD_HOST_PARAMS_H

#include <jansson.h>

#include "base/attributes.h"
#include "handlers/handler.h"
#include "handlers/host/fault.h"
#include "handlers/host/scan.h"

enum { PARAMS_MAX = 32 };
#define PARAMS_MAGIC UINT32_C(0x4F504102)

enum { /* packed_param.flags */
       PACKED_PRESENT = 1,
       PACKED_GIVEN = 2, /* the client gave it; otherwise it is the fallback */
       PACKED_REAL = 4,  /* NUMBERS: some member was written as a real */
       PACKED_LIST = 8,  /* TEXTS: it was written as an array, not as one string */
       PACKED_WIDE = 16, /* TEXTS: the ends are uint64 */
       PACKED_LARGE = 32 /* NUMBERS: some integer is beyond 64 bits */
};

struct packed_param {
    uint8_t kind; /* enum param_kind */
    uint8_t flags;
    uint8_t zero[6];
    uint64_t offset; /* of the value, from the start of all */
    uint64_t size;   /* of the value, without a NUL at its end */
    uint64_t count;
};

/* The table of a handler, prepared once in each process. */
struct params_table {
    const struct handler *handler;
    unsigned rows;
    unsigned form_count; /* at least 1 */
    /* By form, as masks of rows: those that belong to it, that must be given, and that have a value in any case. */
    uint32_t form_rows[PARAMS_MAX], form_required[PARAMS_MAX], form_present[PARAMS_MAX];
};
/* Aborts if the table contradicts itself: that is a bug in the handler, which shows at every start. Borrows the
 * handler. */
void params_table_init(struct params_table *t, const struct handler *handler);
/* The forms that a row belongs to, as a mask that is never 0. */
unsigned params_row_forms(const struct params_table *t, unsigned row);

/* Appends the packed form of `object` (NULL: no parameters) to the empty buffer *packed. The object is a value of JSON
 * that was checked (jsontext_check). It is read member by member, and a list element by element, so that beside the
 * packed form hardly more memory is needed than for the longest string. Adds all that is wrong to *faults; then *packed
 * is of no use. `at` is where the object stands in the document. */
void params_pack(const struct params_table *t, const struct json_span *object, const struct place *at,
                 struct buf *packed, struct faults *faults);

/* Appends the packed form of an object that gives the rows of the mask, but without their values, to the empty buffer.
 * Pads it to a multiple of 8. False if such an object lacks something, or if its members do not go together. */
MUST_CHECK bool params_pack_blank(const struct params_table *t, uint32_t given, struct buf *packed);

/* Bytes in front of the first value. */
static inline size_t params_front_size(const struct params_table *t) {
    return 16 + t->rows * sizeof(struct packed_param);
}

/* Reads an integer within bounds (decimal text; NULL: no bound), in whatever way JSON writes it. False after a
 * fault. */
struct integer;
bool params_read_integer(const json_t *value, const char *min, const char *max, const struct place *at,
                         struct integer *out, struct faults *faults);

struct params {
    const struct params_table *table;
    const char *bytes; /* the packed form, which is borrowed */
    const struct packed_param *rows;
};
/* Makes packed bytes readable through *p, which borrows them: they must be aligned to 8 and outlive it. They can come
 * from a process that is out of control, so all is checked that a reader relies on: -1 with *fault filled if something
 * is wrong. */
MUST_CHECK int params_view(const struct params_table *t, const void *bytes, size_t size, struct params *p,
                           struct fault *fault);
/* The same for bytes that this process has just packed: nothing is checked. */
void params_view_own(const struct params_table *t, const void *bytes, struct params *p);

#endif
