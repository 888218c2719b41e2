/* params_flat.h: packs parameters straight from the text of a JSON object, if it is as plain as those of most tiny
 * calls are: {"start": 0, "stop": 1000, "op": "count"}. Whatever is not plain, or not right, is left to jsontext.h and
 * params.h, which know all of JSON and what to say about it. Private to handlers/host. */
#ifndef OFFLOAD_HOST_PARAMS_FLAT_H
#define OFFLOAD_HOST_PARAMS_FLAT_H

#include "handlers/host/params.h"

/* For many objects of one table, one after the other. */
struct flat {
    const struct params_table *table;
    uint32_t given;   /* the rows that the object before gave, as a mask */
    struct buf blank; /* the packed form of an object that gives these, without their values */
    size_t name_sizes[PARAMS_MAX];
    unsigned rows[PARAMS_MAX]; /* of the members of the object before, in its order */
};
void flat_init(struct flat *f, const struct params_table *t);
void flat_deinit(struct flat *f);

/* The object that starts at `text`, a '{': appends its packed form to *to, whose size is a multiple of 8, and returns
 * where the object ends. Or NULL, with *to as it was, unless the object is right and plain: names and strings are ASCII
 * without escapes, numbers are integers of at most 18 digits, and there are no arrays and no objects in it. */
MUST_CHECK const char *flat_pack(struct flat *f, const char *text, const char *end, struct buf *to);

#endif
