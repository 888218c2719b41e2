/* assets.h: files that the build puts into the program: the description of the API, in both notations. Front end.
 *
 * The JSON is in two pieces. Between them is the end of the list of the types that Submission takes: there, each behind
 * a comma, come those that are not built in. */
#ifndef OFFLOAD_API_ASSETS_H
#define OFFLOAD_API_ASSETS_H

#include <stddef.h>

extern const char asset_openapi_yaml[], asset_openapi_yaml_end[];
extern const char asset_openapi_json[], asset_openapi_json_end[];
extern const char asset_openapi_json_rest[]; /* the second piece, right behind the first */

/* In bytes. */
static inline size_t asset_size(const char *start, const char *end) {
    return (size_t)(end - start);
}

#endif
