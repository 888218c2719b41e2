/* params.h: checks the parameters of a submission against the table of a handler, and packs them into bytes that
 * another process can read in place. Private to handlers/host. Only one thread of a process may call these functions.
 *
 * The packed form starts at an address that is a multiple of 8, and is in the byte order of this machine:
 *
 *     OFFSET  SIZE  FIELD
 *          0     4  magic    PARAMS_MAGIC; it is raised with every change of what follows
 *          4     4  print    the fingerprint of the handler's table
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
 *     BYTES     none; count is the number of the attachment
 *     TEXTS     count uint32: where each text ends (behind its NUL), counted from the first text; then the texts.
 *               With PACKED_WIDE the ends are uint64
 *     NUMBERS   numbers.h
 *
 * With HANDLER_WHOLE_PARAMS it does not depend on the table. It has the members that the client gave, in their order, as
 * compact JSON. A PARAM_INTEGER is written in the one form that the rule of handler.h gives its value; all other values
 * are as the client wrote them:
 *
 *     OFFSET  SIZE  FIELD
 *          0     4  magic    PARAMS_WHOLE_MAGIC
 *          4     4  zero
 *          8     8  size     of all
 *         16     8  text     the bytes of the text
 *         24        the text, NUL, and zeros up to a multiple of 8
 */
#ifndef OFFLOAD_HOST_PARAMS_H
#define OFFLOAD_HOST_PARAMS_H

#include <jansson.h>

#include "base/attributes.h"
#include "handlers/handler.h"
#include "handlers/host/fault.h"
#include "handlers/host/scan.h"

enum { PARAMS_MAX = 32 };
#define PARAMS_MAGIC       UINT32_C(0x4F504104)
#define PARAMS_WHOLE_MAGIC UINT32_C(0x4F505701)
#define PARAMS_WHOLE_FRONT 24 /* bytes in front of the text */

/* The kinds of value that a PARAM_JSON can be limited to. */
#define PARAM_KINDS (PARAM_NULL | PARAM_BOOL | PARAM_NUMBER | PARAM_STRING | PARAM_ARRAY | PARAM_OBJECT)

enum { /* packed_param.flags */
       PACKED_PRESENT = 1,
       PACKED_GIVEN = 2,  /* the client gave it; otherwise it is the fallback */
       PACKED_REAL = 4,   /* NUMBERS: some member was written as a real */
       PACKED_LIST = 8,   /* TEXTS: it was written as an array, not as one string */
       PACKED_WIDE = 16,  /* TEXTS: the ends are uint64 */
       PACKED_LARGE = 32, /* NUMBERS: some integer is beyond 64 bits */
       PACKED_TOKENS = 64 /* TEXTS: each is int32 token ids, and a NUL */
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
    uint32_t print;      /* tells tables apart; the same in all processes */
    uint64_t serial;     /* no other table of this process has it */
    bool whole, open;    /* HANDLER_WHOLE_PARAMS, HANDLER_OPEN_PARAMS */
    bool takes_bytes;    /* some row is a PARAM_BYTES */
    /* By form, as masks of rows: those that belong to it, that must be given, and that have a value in any case. */
    uint32_t form_rows[PARAMS_MAX], form_required[PARAMS_MAX], form_present[PARAMS_MAX];
};
/* 0, or -1 if the table contradicts itself, with one line in `error`. Borrows the handler. */
MUST_CHECK int params_table_init(struct params_table *t, const struct handler *handler, struct buf *error);
/* The forms that a row belongs to, as a mask that is never 0. */
unsigned params_row_forms(const struct params_table *t, unsigned row);

/* Appends the packed form of `object` (NULL: no parameters) to the empty buffer *packed. The object is a value of JSON
 * that was checked (jsontext_check). It is read member by member, and a list element by element, so that beside the
 * packed form hardly more memory is needed than for the longest string. Adds all that is wrong to *faults; then *packed
 * is of no use. `at` is where the object stands in the document. */
void params_pack(const struct params_table *t, const struct json_span *object, const struct place *at,
                 struct buf *packed, struct faults *faults);

/* A column of a map: a member of the object "columns". */
struct column {
    struct json_span name, value; /* as they stand in the text; the name has its quotes */
    bool is_list;                 /* it has a value for each call; otherwise its value is the same for all of them */
    size_t count;                 /* of the list */
};
/* Checks what the calls of a map by columns have in common: that the names belong to the type and go together, that none
 * is missing, and the values that are the same for all. Adds all that is wrong to *faults. `at` is where the columns
 * stand in the document. */
void params_check_columns(const struct params_table *t, const struct column *columns, size_t count,
                          const struct place *at, struct faults *faults);
/* The row of the name in the table; t->rows if it has none. The name is a string of JSON that was checked. */
unsigned params_find_row(const struct params_table *t, const struct json_span *name);

/* Appends the packed form of an object that gives the rows of the mask, but without their values, to the empty buffer.
 * Pads it to a multiple of 8. False if such an object lacks something, or if its members do not go together. */
MUST_CHECK bool params_pack_blank(const struct params_table *t, uint32_t given, struct buf *packed);

/* The flag of the kind of a JSON value that begins with this character: PARAM_NULL ... PARAM_OBJECT. */
unsigned params_kind_of(char first);
/* Does a PARAM_JSON take a value that begins so? */
static inline bool params_takes_kind(const struct param_spec *spec, char first) {
    unsigned kinds = spec->flags & PARAM_KINDS;
    return kinds == 0 || (kinds & params_kind_of(first)) != 0;
}

/* Begins the packed form of HANDLER_WHOLE_PARAMS. The caller appends the text and ends it. */
void params_begin_whole(struct buf *packed);
/* packed has the text from `front`, where the form begins, + PARAMS_WHOLE_FRONT on. */
void params_end_whole(struct buf *packed, size_t front);
/* Appends an integer in canonical digits as the rule of handler.h writes it. */
void params_put_integer(struct buf *to, const char *digits, size_t size);

/* Bytes in front of the first value. */
static inline size_t params_front_size(const struct params_table *t) {
    return 16 + t->rows * sizeof(struct packed_param);
}

/* Reads an integer within bounds (decimal text; NULL: no bound), in whatever way JSON writes it. False after a
 * fault. */
struct integer;
bool params_read_integer(const json_t *value, const char *min, const char *max, const struct place *at,
                         struct integer *out, struct faults *faults);

struct host_attachments;
struct params {
    const struct params_table *table;
    const char *bytes;                          /* the packed form, which is borrowed */
    const struct packed_param *rows;            /* NULL with HANDLER_WHOLE_PARAMS */
    const struct host_attachments *attachments; /* NULL: there are none */
};
/* The number of the attachment that is the value of a row. False: it is not given. */
MUST_CHECK bool params_attachment(const struct params *p, unsigned row, uint32_t *number);
/* Makes packed bytes readable through *p, which borrows them: they must be aligned to 8 and outlive it. They can come
 * from a process that is out of control, so all is checked that a reader relies on: -1 with *fault filled if something
 * is wrong. */
MUST_CHECK int params_view(const struct params_table *t, const void *bytes, size_t size, struct params *p,
                           struct fault *fault);
/* The same for bytes that this process has just packed: nothing is checked. */
void params_view_own(const struct params_table *t, const void *bytes, struct params *p);

#endif
