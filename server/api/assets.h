/* assets.h: files that are part of the program, from the build. */
#ifndef OFFLOAD_ASSETS_H
#define OFFLOAD_ASSETS_H

#include <stddef.h>

extern const char asset_openapi_yaml[], asset_openapi_yaml_end[];
extern const char asset_openapi_json[], asset_openapi_json_end[];

static inline size_t asset_size(const char *start, const char *end) {
    return (size_t)(end - start);
}

#endif
