/* range.c: see range.h. Front end. */
#include "server/http/range.h"

#include <string.h>

#include "base/field.h"

enum range range_parse(const char *text, size_t size, size_t *first, size_t *last) {
    struct field_part value = field_trim(text == NULL ? "" : text, text == NULL ? 0 : strlen(text)), range, other;
    struct field_part unit = field_take_name(&value);
    if (!field_is(&unit, "bytes") || !field_next(&value, ',', &range) || field_next(&value, ',', &other))
        return RANGE_NONE;
    const char *dash = memchr(range.at, '-', range.size);
    if (dash == NULL)
        return RANGE_NONE;
    struct field_part from = {range.at, (size_t)(dash - range.at)};
    struct field_part to = {dash + 1, range.size - from.size - 1};
    uint64_t a = 0, b = UINT64_MAX;
    bool has_from = field_read_number(&from, UINT64_MAX, &a), has_to = field_read_number(&to, UINT64_MAX, &b);
    if ((from.size > 0 && !has_from) || (to.size > 0 && !has_to) || (!has_from && !has_to))
        return RANGE_NONE;
    if (!has_from) { /* the last b bytes */
        *first = b >= size ? 0 : size - (size_t)b;
        *last = size - 1;
        return b == 0 || size == 0 ? RANGE_BAD : RANGE_OK;
    }
    if (a > b)
        return RANGE_NONE;
    if (a >= size)
        return RANGE_BAD;
    *first = (size_t)a;
    *last = b >= size ? size - 1 : (size_t)b;
    return RANGE_OK;
}
