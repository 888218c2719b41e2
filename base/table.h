/* table.h: uthash, but without its way of ending the process when memory runs out. Include this file instead of
 * uthash.h. If there is no memory, HASH_ADD leaves the element out; HASH_HOLDS says so. Any process. */
#ifndef OFFLOAD_TABLE_H
#define OFFLOAD_TABLE_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* Whether the element, whose handle is `hh`, is in its table. Ask after each HASH_ADD. */
#define HASH_HOLDS(element) ((element)->hh.tbl != NULL)

#endif
