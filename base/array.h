/* array.h: growing arrays on the heap. */
#ifndef OFFLOAD_ARRAY_H
#define OFFLOAD_ARRAY_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

/* Makes room for one more element behind `count` of them. *array is on the heap or NULL; *room is how many elements it
 * has room for, and is doubled when they are used up (16 at first). 0, or -1 if memory ran out: all stays as it was.
 *
 *     if (GROW_ARRAY(&list, list_count, &list_room) == 0)
 *         list[list_count++] = element;
 */
#define GROW_ARRAY(array, count, room) grow_array((void **)(array), (count), (room), sizeof **(array))
MUST_CHECK int grow_array(void **array, size_t count, size_t *room, size_t element_size);

#endif
