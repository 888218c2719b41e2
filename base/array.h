/* array.h: arrays on the heap that grow. Any process and thread. */
#ifndef OFFLOAD_ARRAY_H
#define OFFLOAD_ARRAY_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

/* Makes room for one more element behind the first `count`. *array is on the heap or NULL, and the caller frees it.
 * *room is the number of elements that it has room for: 16 at first, and doubled whenever it is used up. 0, or -1 if
 * memory ran out: then nothing has changed.
 *
 *     if (GROW_ARRAY(&list, list_count, &list_room) == 0)
 *         list[list_count++] = element;
 */
#define GROW_ARRAY(array, count, room) grow_array((void **)(array), (count), (room), sizeof **(array))
MUST_CHECK int grow_array(void **array, size_t count, size_t *room, size_t element_size);

#endif
