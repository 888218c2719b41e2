/* image_work.h: images by libvips: their heads, and the way from a file to a file. It runs in workers. */
#ifndef OFFLOAD_IMAGE_WORK_H
#define OFFLOAD_IMAGE_WORK_H

#include "handlers/image_ops.h"

enum image_format { IMAGE_JPEG, IMAGE_PNG, IMAGE_WEBP, IMAGE_AVIF, IMAGE_TIFF, IMAGE_GIF, IMAGE_FORMATS };
extern const char *const image_format_names[IMAGE_FORMATS + 1]; /* ends with NULL */
extern const char *const image_media_types[IMAGE_FORMATS + 1];

/* What the head of a file says. */
struct image_head {
    enum image_format format;
    int width, height, frames; /* of one frame; as it is shown, that is, turned by its EXIF orientation */
};
/* Reads the head of a file, and nothing more of it. 0, or -1 after call_fail. */
int image_read_head(struct call *c, const void *bytes, size_t size, struct image_head *head);

#define IMAGE_MAX_FRAMES 4096

/* How a result is written. */
struct image_saving {
    uint32_t format;  /* enum image_format */
    uint32_t quality; /* 1 to 100; 0: as the format usually has it */
    bool keep_metadata;
};
/* Does the operations in their order and writes the result to the part of the call. 0, or -1 after call_fail, or because
 * the call was cancelled. */
int image_work(struct call *c, const void *bytes, size_t size, const struct image_head *head,
               const struct image_op *ops, size_t count, const struct image_saving *saving);

#endif
