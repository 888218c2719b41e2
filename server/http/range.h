/* range.h: the Range header (RFC 9110, section 14.2). For this room only. Pure computing. */
#ifndef OFFLOAD_HTTP_RANGE_H
#define OFFLOAD_HTTP_RANGE_H

#include <stddef.h>

enum range {
    RANGE_NONE, /* all is sent: there is no Range, or it has another unit, several ranges, or is malformed */
    RANGE_OK,   /* `first` to `last` is sent */
    RANGE_BAD   /* no byte is in the range */
};

/* Understands one byte range of a body of `size` bytes. Several ranges and other units are ignored, as section 14.2
 * allows. text: the value of the header, or NULL. */
enum range range_parse(const char *text, size_t size, size_t *first, size_t *last);

#endif
