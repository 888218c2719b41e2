/* items_format.h: how the items of a map are laid out in memory, from the submission to the result. Private to
 * handlers/host, but for the parts, which host.h describes (struct item_entry). These functions are pure: any thread
 * may call them.
 *
 * All of it is in the byte order of this machine, at addresses that are multiples of 8.
 *
 * items_pack.c makes a list of the member "items", and items_plan.c plans it:
 *
 *     OFFSET  SIZE  FIELD
 *          0     4  magic    ITEMS_MAGIC; it is raised with every change of what follows
 *          4     4  count
 *          8     8  size     of all
 *         16        the items as the client wrote them: a JSON array
 *
 * columns.c makes the same of the member "columns", with COLUMNS_MAGIC. Behind the size are
 *
 *         16     8  columns  how many
 *         24    32  one struct packed_column for each of them
 *                   the columns as the client wrote them: a JSON object
 *
 * items_plan.c makes a group of consecutive items, and items_run.c runs it. Each item is a struct planned_item and what
 * its handler planned, so that the run needs no parameters:
 *
 *     | planned_item | common ..pad | chunk's bytes ..pad | planned_item | ...                     a good item
 *     | planned_item | chunk table | common ..pad | chunks' bytes ..pad | planned_item | ...       one of several chunks
 *     | planned_item | fault as JSON ..pad | ...                                                   a bad one
 *     | planned_item | the item as JSON ..pad | ...                      likewise, if that takes less: see enum bad_item
 *
 * items_run.c makes a part of a group. The text is what stands in the result, so that the merge copies it as a whole.
 *
 *     | part_head | part_entry | part_entry | ... | JSON , JSON , ... |
 *
 * The part of a map by columns has two texts, of the two lists in its result. A call that has failed is `null` in the
 * first one; a call whose result is null is ` null` there, with a space, so that they can be told apart:
 *
 *     | columns_head | columns_entry | columns_entry | ... | value , null , ... | {"index":1,"error":{...}} , ... |
 *
 * A part with blobs is a memfd that is written once, from its front on. Its text is a part as items_format.h has it:
 *
 *     | blobs_head | blob ..pad | blob ..pad | ... | text ..pad | blob_row | blob_row | ... | */
#ifndef OFFLOAD_HOST_ITEMS_FORMAT_H
#define OFFLOAD_HOST_ITEMS_FORMAT_H

#include "handlers/host/host.h"

#define ITEMS_MAGIC   UINT32_C(0x4F494C05)
#define COLUMNS_MAGIC UINT32_C(0x4F434C05) /* in place of it, of a map by columns */
#define ITEMS_PAD(n)  (((size_t)(n) + 7) & ~(size_t)7)

/* The front of a list. */
struct items_head {
    uint32_t magic, count;
    uint64_t size;
};

/* Where a column stands in the text, from its start on. */
struct packed_column {
    uint64_t name, name_end; /* with its quotes */
    uint64_t value, value_end;
};

/* The common bytes of all groups and of the merge. */
struct items_common {
    uint32_t magic, count;
};

/* What there is of a bad item. A fault can have hundreds of bytes where the client sent three, so it is made again from
 * the item when it is needed. */
enum bad_item {
    BAD_FAULT,      /* the fault */
    BAD_ITEM,       /* the item itself */
    BAD_ITEM_BRIEF, /* the item, of whose faults only the first is wanted */
    BAD_ITEMS
};

struct planned_item {
    uint32_t index;
    uint32_t chunks; /* 0: it is a bad item */
    uint64_t size;   /* of what follows, without the padding at the end */
    uint64_t cost_ns;
    uint16_t common_size; /* without padding */
    uint8_t bad;          /* enum bad_item, of a bad item */
    uint8_t by_columns;   /* 1: the map is */
    uint32_t lists;       /* then: the parameters whose columns are lists, as a mask of their rows */
    uint32_t attachment_first, attachment_count; /* that it can need, see struct host_plan_chunk */
};
_Static_assert(HANDLER_MAX_COMMON <= UINT16_MAX, "common_size holds it");

/* The front of a part. */
struct part_head {
    uint32_t count;
    uint32_t form; /* enum part_form */
};
enum part_form { PART_OF_ITEMS, PART_OF_COLUMNS, PART_WITH_BLOBS /* items_blobs.h */ };

/* The row of an item in a part. */
struct part_entry {
    uint32_t index;      /* of the item in the map */
    uint32_t failed : 1; /* the item has */
    uint32_t size : 31;  /* of its JSON */
};
_Static_assert(sizeof(struct part_entry) == 8, "a part has a table of these");
#define PART_MAX_JSON INT32_MAX /* bytes of an item's JSON */

/* The front of a part of a map by columns. */
struct columns_head {
    struct part_head part;
    uint32_t first, zero; /* first: the index of its first call; the others follow one by one */
    uint64_t text;        /* bytes of the first text */
};

/* The row of a call in it. */
struct columns_entry {
    uint32_t failed : 1; /* the call has */
    uint32_t size : 31;  /* of its value; of one that has failed, of its error in the second text */
};
_Static_assert(sizeof(struct columns_entry) == 4, "a part has a table of these");

/* The front of a part with blobs. */
struct blobs_head {
    struct part_head part; /* count 0; form PART_WITH_BLOBS */
    uint64_t text, text_size;
    uint64_t rows, count;
};
_Static_assert(sizeof(struct blobs_head) == 40, "there is no padding");

/* A blob: the result of an item that is not JSON. */
struct blob_row {
    uint32_t index, zero; /* of the item in the map */
    uint64_t offset, size;
    char media_type[HANDLER_MAX_MEDIA_TYPE + 1];
};

/* A part that was made so, or any other, whose text is all of it. */
struct blobs_view {
    struct bytes whole, text;
    const char *rows; /* blob_row, not aligned */
    uint64_t count;
};
/* False: the bytes are no part. They can be anything: a worker has made them. */
MUST_CHECK bool blobs_view(struct bytes part, struct blobs_view *v);

/* Adds the attachments of an item to those of its group. */
static inline void items_join_attachments(struct host_plan_chunk *group, const struct planned_item *item) {
    if (item->attachment_count == 0)
        return;
    uint64_t first = item->attachment_first, end = first + item->attachment_count, old = group->attachment_first;
    if (group->attachment_count > 0) {
        end = end > old + group->attachment_count ? end : old + group->attachment_count;
        first = first < old ? first : old;
    }
    group->attachment_first = (uint32_t)first;
    group->attachment_count = end - first > UINT32_MAX ? UINT32_MAX : (uint32_t)(end - first);
}

extern const struct place items_place;   /* /items */
extern const struct place columns_place; /* /columns */

/* Where the parameters of an item stand. */
struct place items_place_of(const struct handler *handler, const struct planned_item *item);

/* Appends the zeros behind a value of that size. */
void items_pad(struct buf *to, size_t size);

/* Makes *fault say that the `what` of the map are damaged. Returns -1. */
int items_report_damage(struct fault *fault, const char *what);

#endif
