/* params_flat.h: packs parameters straight from the text of a JSON object, if it is as plain as the objects of most
 * tiny calls: {"start": 0, "stop": 1000, "op": "count"}. What is not plain, or not right, is left to jsontext.h and
 * params.h, which know all of JSON and say what is wrong. Private to handlers/host. Only one thread of a process may
 * call these functions. */
#ifndef OFFLOAD_HOST_PARAMS_FLAT_H
#define OFFLOAD_HOST_PARAMS_FLAT_H

#include "handlers/host/params.h"

/* Packs many objects of one table, one after the other. It remembers the last object, as the next one is most often
 * like it. */
struct flat {
    const struct params_table *table; /* borrowed */
    uint64_t serial;                  /* of the table: another one can come to the same address */
    uint32_t given;                   /* the rows that the last object gave, as a mask */
    struct buf blank;                 /* the packed form of an object that gives these, without their values */
    size_t name_sizes[PARAMS_MAX];
    unsigned rows[PARAMS_MAX]; /* of the members of the last object, in its order */
};
void flat_init(struct flat *f, const struct params_table *t);
void flat_deinit(struct flat *f);

/* Appends the packed form of the object that starts at `text`, a '{', to *to, whose size is a multiple of 8. Returns
 * the end of the object. Returns NULL, and leaves *to as it was, unless the object is right and plain: its names and
 * strings are ASCII without escapes, its numbers are integers of at most 18 digits, and there are no arrays and no
 * objects in it. */
MUST_CHECK const char *flat_pack(struct flat *f, const char *text, const char *end, struct buf *to);

/* A member of an object, with its value as it is written. */
struct flat_member {
    unsigned row;
    const char *text; /* of a string: without the quotes */
    size_t size;      /* of the text */
    bool is_text;     /* it is a string */
    uint64_t count;   /* packed_param.count */
    size_t packed;    /* bytes that the packed value takes */
};

struct flat_object {
    struct flat_member members[PARAMS_MAX];
    unsigned count;
    uint32_t given; /* the rows of the members, as a mask */
};

/* For objects whose members do not stand in one text: reads a value of that row into *m, which borrows the text. Returns
 * its end, behind which the caller must find what can follow a value. NULL: it is not plain, or not right. */
MUST_CHECK const char *flat_read(const struct flat *f, unsigned row, const char *at, const char *end,
                                 struct flat_member *m);
/* Appends the packed form of the object. False, and nothing is appended, if the members make no complete form, or if
 * memory runs out. */
MUST_CHECK bool flat_pack_object(struct flat *f, const struct flat_object *o, struct buf *to);

#endif
