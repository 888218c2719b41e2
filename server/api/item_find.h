/* item_find.h: finds one item in the merged result of a map, {"items":[{...},...]} or {"results":[...],"errors":[...]}
 * (handlers/host/host.h). The result can be large, and the items in it have no index, so it is read step by step, and the
 * event loop goes on meanwhile. Front end; pure computing. */
#ifndef OFFLOAD_API_ITEM_FIND_H
#define OFFLOAD_API_ITEM_FIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handlers/host/scan.h"

enum item_found {
    ITEM_UNDECIDED, /* call again */
    ITEM_RESULT,    /* `at` and `size` say where its result stands: a JSON value */
    ITEM_ERROR,     /* likewise its problem */
    ITEM_BAD        /* the text is no list of items, or has no such item */
};

/* Begins as zeros, but for `index`. */
struct item_search {
    uint32_t index; /* of the item that is wanted */
    size_t at, size;

    /* ---- private ---- */
    enum { FIND_BEGIN, FIND_ITEMS, FIND_RESULTS, FIND_ERRORS } list;
    uint32_t next; /* the index of the next element */
    bool open;     /* it is within an element, which begins at `from` */
    size_t from, done;
    struct value_scan scan;
};

/* Looks at about `most` more bytes of the same text. */
enum item_found item_search_step(struct item_search *s, const char *text, size_t size, size_t most);

#endif
