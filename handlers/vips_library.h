/* vips_library.h: libvips (https://www.libvips.org), which is opened when a worker has its first image. Linked into the
 * program it would cost each start 50 ms and each process 5 MB. The functions are those of its C API, with vips.NAME for
 * vips_NAME. For the files of the type "image" alone; in workers. */
#ifndef OFFLOAD_VIPS_LIBRARY_H
#define OFFLOAD_VIPS_LIBRARY_H

#include <vips/vips.h>

#define VIPS_FUNCTIONS(F)                                                                                              \
    F(addalpha)                                                                                                        \
    F(area_unref)                                                                                                      \
    F(array_double_new)                                                                                                \
    F(arrayjoin)                                                                                                       \
    F(autorot)                                                                                                         \
    F(bandjoin)                                                                                                        \
    F(block_untrusted_set)                                                                                             \
    F(cache_set_max)                                                                                                   \
    F(cast)                                                                                                            \
    F(colourspace)                                                                                                     \
    F(concurrency_set)                                                                                                 \
    F(copy)                                                                                                            \
    F(error_buffer)                                                                                                    \
    F(error_clear)                                                                                                     \
    F(extract_area)                                                                                                    \
    F(extract_band)                                                                                                    \
    F(flatten)                                                                                                         \
    F(flip)                                                                                                            \
    F(gaussblur)                                                                                                       \
    F(icc_transform)                                                                                                   \
    F(image_copy_memory)                                                                                               \
    F(image_get_bands)                                                                                                 \
    F(image_get_fields)                                                                                                \
    F(image_get_format)                                                                                                \
    F(image_get_height)                                                                                                \
    F(image_get_interpretation)                                                                                        \
    F(image_get_n_pages)                                                                                               \
    F(image_get_orientation)                                                                                           \
    F(image_get_page_height)                                                                                           \
    F(image_get_typeof)                                                                                                \
    F(image_get_width)                                                                                                 \
    F(image_generate)                                                                                                  \
    F(image_hasalpha)                                                                                                  \
    F(image_new)                                                                                                       \
    F(image_new_from_buffer)                                                                                           \
    F(image_pipeline_array)                                                                                            \
    F(image_remove)                                                                                                    \
    F(image_set_int)                                                                                                   \
    F(image_set_kill)                                                                                                  \
    F(image_set_progress)                                                                                              \
    F(image_write_to_buffer)                                                                                           \
    F(init)                                                                                                            \
    F(linear)                                                                                                          \
    F(premultiply)                                                                                                     \
    F(region_prepare)                                                                                                  \
    F(rot)                                                                                                             \
    F(rotate)                                                                                                          \
    F(start_one)                                                                                                       \
    F(stop_one)                                                                                                        \
    F(subtract)                                                                                                        \
    F(add)                                                                                                             \
    F(unpremultiply)                                                                                                   \
    F(thumbnail_buffer)                                                                                                \
    F(thumbnail_image)

#define VIPS_POINTER(name) __typeof__(&vips_##name) name;
struct vips_library {
    VIPS_FUNCTIONS(VIPS_POINTER)
    __typeof__(&g_object_unref) unref; /* of libgobject and libglib, which libvips brings along */
    __typeof__(&g_object_ref) ref;
    __typeof__(&g_signal_connect_data) connect;
    __typeof__(&g_free) free;
    __typeof__(&g_strfreev) free_list;
};
extern struct vips_library vips;

/* Opens it, if that was not done, and makes it ready: one thread of its own, no cache, no loaders that it does not trust
 * (they are for formats that this service does not take). NULL, or what is wrong, as one line. */
const char *vips_library_open(void);

#endif
