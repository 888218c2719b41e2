/* image_ops.h: what is done to an image: the parameter "ops", or "filter" with its own parameters. It runs in workers. */
#ifndef OFFLOAD_IMAGE_OPS_H
#define OFFLOAD_IMAGE_OPS_H

#include "handlers/handler.h"

#define IMAGE_MAX_OPS 12

enum image_filter {
    FILTER_GRAYSCALE,
    FILTER_BLUR,
    FILTER_SHARPEN,
    FILTER_SEPIA,
    FILTER_THUMBNAIL,
    FILTER_ROTATE,
    FILTER_FLIP,
    FILTER_CROP,
    FILTER_CONVERT,
    FILTERS
};
extern const char *const image_filters[FILTERS + 1]; /* their names; ends with NULL */

enum image_fit { FIT_INSIDE, FIT_COVER, FIT_FILL };
extern const char *const image_fits[4];
extern const char *const image_directions[3]; /* "horizontal", "vertical" */

struct image_op {
    uint32_t filter, choice; /* choice: enum image_fit, or 1: vertical */
    int32_t left, top, width, height, angle;
    float sigma, amount;
};

/* Reads them from the parameters into `ops`. Returns how many, or -1 after call_fail. */
int image_read_ops(struct call *c, const struct params *p, struct image_op ops[IMAGE_MAX_OPS]);

#endif
