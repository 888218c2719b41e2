/* columns.h: the member "columns" of a submission: a map whose calls stand in lists, one for each parameter, instead of
 * a list of objects. It is packed as the client has written it (items_format.h), and the plan goes through all lists in
 * step. Private to handlers/host. Only one thread of a process may call these functions. */
#ifndef OFFLOAD_HOST_COLUMNS_H
#define OFFLOAD_HOST_COLUMNS_H

#include "handlers/host/params_flat.h"

/* ---- in a submission --------------------------------------------------------------------------------------------- */

struct columns {
    struct json_span span; /* the value; at: NULL: there is none */
    struct column *all;    /* of an object */
    size_t count, room;
    bool failed; /* memory ran out */
};

/* Reads the value at `at`, of JSON that was checked, into *c, which is all zeros. Returns its end. The caller frees with
 * columns_deinit. */
const char *columns_read(struct columns *c, const char *at, const char *end);
void columns_deinit(struct columns *c);
/* Appends the packed form to the empty buffer *packed. Returns how many calls it makes. Adds to *faults all that is wrong
 * with the columns themselves; a bad value in a list is found when the map is planned. */
uint32_t columns_pack(const struct columns *c, const struct params_table *t, struct buf *packed, struct faults *faults);

/* ---- in a plan --------------------------------------------------------------------------------------------------- */

/* A column on the way through its calls. */
struct column_cursor {
    struct json_span name;  /* with its quotes */
    struct json_span value; /* of a call that is not plain; of a column that is no list, of all calls */
    bool is_list;
    const char *next, *end; /* of a list: where the next element is looked for, and the end of the list */
    const char *behind;     /* where `next` goes with the next call */
    unsigned row;           /* in the table */
    unsigned member;        /* in the plain object */
};

/* The calls of a map by columns, one after the other. */
struct column_reader {
    const struct params_table *table;
    struct column_cursor *columns;
    size_t count;
    uint32_t lists;            /* the rows whose columns are lists, as a mask */
    struct flat flat;          /* it packs the plain calls */
    struct flat_object object; /* the plain form of the call; the members that are the same for all stay */
    bool is_plain;             /* those are plain, and the table has all members */
};

/* Begins to read a packed form, which is borrowed. Nothing of it is trusted: it can come from a process that is out of
 * control. 0, or -1 with *fault filled. The caller frees with columns_close in both cases. */
MUST_CHECK int columns_open(struct column_reader *r, const struct params_table *t, const char *packed, size_t size,
                            struct fault *fault);
void columns_close(struct column_reader *r);

enum columns_call {
    COLUMNS_PACKED, /* its parameters are appended to *params */
    COLUMNS_TEXT,   /* it is not plain, or not right: it is appended to *text as an object, which is not checked */
    COLUMNS_DAMAGED
};
/* Reads the next call. `last`: no other may follow. Both buffers are empty. */
MUST_CHECK enum columns_call columns_next(struct column_reader *r, bool last, struct buf *params, struct buf *text);

#endif
