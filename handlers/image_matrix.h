/* image_matrix.h: grey and sepia, each a matrix on the colours of a pixel, in one pass over the bytes. In workers. */
#ifndef OFFLOAD_IMAGE_MATRIX_H
#define OFFLOAD_IMAGE_MATRIX_H

#include "handlers/vips_library.h"

/* `image` has bands of 8 bits: grey or RGB, each with or without alpha. The result has one band (grey) or three (sepia) and
 * the alpha channel as it was; it is rounded and cut to 255. `image` has to live as long as the result, which is computed
 * when it is read. NULL: it failed, and libvips has the reason. */
VipsImage *image_grey(VipsImage *image);
VipsImage *image_sepia(VipsImage *image);

#endif
