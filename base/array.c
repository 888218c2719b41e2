/* array.c: see array.h. Any process. */
#include "base/array.h"

#include <stdlib.h>

#define FIRST_ROOM 16

int grow_array(void **array, size_t count, size_t *room, size_t element_size) {
    if (count < *room)
        return 0;
    size_t more = *room == 0 ? FIRST_ROOM : 2 * *room;
    void *grown = reallocarray(*array, more, element_size);
    if (grown == NULL)
        return -1;
    *array = grown;
    *room = more;
    return 0;
}
