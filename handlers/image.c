/* image.c: the type "image": filters on JPEG, PNG, WebP, AVIF, TIFF and GIF by libvips. One image is one chunk: libvips
 * works in one thread of the worker, and other images are for other workers. It runs in workers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/image_work.h"

/* Options of the service, --max-image-pixels and --max-image-frames, come in the environment. */
static uint64_t max_pixels = 100000000, max_frames = 1000;

/* What the run needs. */
struct task {
    uint32_t attachment, count;
    uint64_t size;
    struct image_head head;
    struct image_saving saving;
    struct image_op ops[IMAGE_MAX_OPS];
};
_Static_assert(sizeof(struct task) <= HANDLER_MAX_COMMON, "it is the common bytes of the job");

static void read_limit(const char *name, uint64_t most, uint64_t *limit) {
    const char *text = getenv(name);
    uint64_t value = text == NULL ? 0 : strtoull(text, NULL, 10);
    if (value > 0)
        *limit = value < most ? value : most;
}

static int image_load(void) {
    read_limit("HANDLER_MAX_IMAGE_PIXELS", UINT64_MAX / 2, &max_pixels);
    read_limit("HANDLER_MAX_IMAGE_FRAMES", IMAGE_MAX_FRAMES, &max_frames);
    return 0;
}

/* ---- plan -------------------------------------------------------------------------------------------------------- */

static uint64_t pixels_of(const struct image_head *h) {
    return (uint64_t)h->width * (uint64_t)h->height * (uint64_t)h->frames;
}

static int check_size(struct call *c, const struct image_head *h) {
    if ((uint64_t)h->frames > max_frames)
        return call_fail(c, CALL_INVALID, "/image", "has %d frames; at most %llu are taken (--max-image-frames)",
                         h->frames, (unsigned long long)max_frames);
    if (pixels_of(h) > max_pixels)
        return call_fail(c, CALL_INVALID, "/image",
                         "has %d x %d pixels in %d frame%s; at most %llu pixels are taken (--max-image-pixels)",
                         h->width, h->height, h->frames, h->frames == 1 ? "" : "s", (unsigned long long)max_pixels);
    return 0;
}

/* The size after an operation, to a pixel or so. */
static void follow_size(const struct image_op *op, double *width, double *height) {
    double w = *width, h = *height, turn = (double)op->angle * M_PI / 180, scale = 1;
    double across = op->width > 0 ? op->width : w * (double)op->height / h;
    double down = op->height > 0 ? op->height : h * (double)op->width / w;
    if (op->filter == FILTER_ROTATE) {
        *width = fabs(w * cos(turn)) + fabs(h * sin(turn));
        *height = fabs(w * sin(turn)) + fabs(h * cos(turn));
    } else if (op->filter == FILTER_CROP) {
        *width = fmin(w, op->width);
        *height = fmin(h, op->height);
    } else if (op->filter == FILTER_THUMBNAIL && op->choice == FIT_INSIDE) {
        scale = fmin(1, fmin(across / w, down / h));
        *width = fmax(1, w * scale);
        *height = fmax(1, h * scale);
    } else if (op->filter == FILTER_THUMBNAIL) {
        *width = fmax(1, across);
        *height = fmax(1, down);
    }
}

/* Thumbnails and turned images can be larger than what they are made of, and there can be several in a row. */
static int check_sizes(struct call *c, const struct params *p, const struct task *t) {
    double width = t->head.width, height = t->head.height;
    char pointer[32];
    for (uint32_t i = 0; i < t->count; i++) {
        const struct image_op *op = &t->ops[i];
        follow_size(op, &width, &height);
        if (width * height * t->head.frames <= (double)max_pixels + width + height)
            continue;
        snprintf(pointer, sizeof pointer, "/ops/%u", (unsigned)i);
        return call_fail(c, CALL_INVALID, param_given(p, "ops") ? pointer : "/filter",
                         "makes an image of more than %llu pixels (--max-image-pixels)",
                         (unsigned long long)max_pixels);
    }
    return 0;
}

/* How long it takes, roughly: nanoseconds for each pixel, as measured on one core. */
static uint64_t cost_ns(const struct task *t) {
    static const uint64_t by_filter[FILTERS] = {[FILTER_GRAYSCALE] = 8, [FILTER_BLUR] = 150,    [FILTER_SHARPEN] = 180,
                                                [FILTER_SEPIA] = 20,    [FILTER_THUMBNAIL] = 3, [FILTER_ROTATE] = 6,
                                                [FILTER_FLIP] = 2,      [FILTER_CROP] = 1,      [FILTER_CONVERT] = 0};
    static const uint64_t to_write[IMAGE_FORMATS] = {
        [IMAGE_JPEG] = 8, [IMAGE_PNG] = 60, [IMAGE_WEBP] = 60, [IMAGE_AVIF] = 300, [IMAGE_TIFF] = 40, [IMAGE_GIF] = 80};
    bool small = t->count > 0 && t->ops[0].filter == FILTER_THUMBNAIL;
    uint64_t each = small ? 3 : 10 + to_write[t->saving.format];
    for (uint32_t i = 0; !small && i < t->count; i++)
        each += by_filter[t->ops[i].filter];
    return 1000000 + pixels_of(&t->head) * each;
}

static int image_plan(struct call *c, const struct params *p) {
    struct attachment image;
    struct task task;
    memset(&task, 0, sizeof task);
    if (!param_attachment(p, "image", &image))
        return call_fail(c, CALL_FAILED, NULL, "there is no image");
    int count = image_read_ops(c, p, task.ops);
    const void *bytes = count < 0 ? NULL : call_map(c, image.index, 0, (size_t)image.size);
    if (bytes == NULL || image_read_head(c, bytes, (size_t)image.size, &task.head) != 0 ||
        check_size(c, &task.head) != 0)
        return -1;
    int64_t quality = 0;
    int format = param_choice(p, "format");
    param_i64(p, "quality", &quality);
    task.attachment = image.index;
    task.size = image.size;
    task.count = (uint32_t)count;
    task.saving = (struct image_saving){.format = format >= 0 ? (uint32_t)format : task.head.format,
                                        .quality = (uint32_t)quality,
                                        .keep_metadata = param_bool(p, "keep_metadata")};
    if (check_sizes(c, p, &task) != 0 || plan_common(c, &task, sizeof task) != 0)
        return -1;
    return plan_chunk(c, "", 0, cost_ns(&task));
}

/* ---- run and merge ----------------------------------------------------------------------------------------------- */

static int read_task(struct call *c, struct bytes common, struct task *task) {
    if (common.size != sizeof *task)
        return call_fail(c, CALL_FAILED, NULL, "the plan is damaged");
    memcpy(task, common.data, sizeof *task);
    if (task->count > IMAGE_MAX_OPS || task->saving.format >= IMAGE_FORMATS || task->head.frames < 1 ||
        task->head.frames > IMAGE_MAX_FRAMES)
        return call_fail(c, CALL_FAILED, NULL, "the plan is damaged");
    return 0;
}

static int image_run(struct call *c, struct bytes common, struct bytes chunk) {
    struct task task;
    (void)chunk;
    if (read_task(c, common, &task) != 0)
        return -1;
    const void *bytes = call_map(c, task.attachment, 0, (size_t)task.size);
    struct image_head head; /* a client that shares its memory can have changed it since it was planned */
    if (bytes == NULL || image_read_head(c, bytes, (size_t)task.size, &head) != 0)
        return -1;
    if (memcmp(&head, &task.head, sizeof head) != 0)
        return call_fail(c, CALL_INVALID, "/image", "has changed meanwhile");
    return image_work(c, bytes, (size_t)task.size, &task.head, task.ops, task.count, &task.saving);
}

static int image_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    struct task task;
    (void)count;
    if (read_task(c, common, &task) != 0)
        return -1;
    return result_part(c, image_media_types[task.saving.format], 0, 0, parts[0].size);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const char *const forms[] = {"filter", "ops", NULL};
static const char *const taken[] = {"image/", NULL};

#define FILTER_FORM 1
#define OPS_FORM    2

static const struct param_spec image_params[] = {
    {.name = "image",
     .kind = PARAM_BYTES,
     .flags = PARAM_REQUIRED,
     .min = "1",
     .choices = taken,
     .help = "a JPEG, PNG, WebP, AVIF, TIFF or GIF file, also one that moves"},
    {.name = "filter",
     .kind = PARAM_ENUM,
     .flags = PARAM_REQUIRED,
     .forms = FILTER_FORM,
     .choices = image_filters,
     .help = "what is done to it"},
    {.name = "ops",
     .kind = PARAM_JSON,
     .flags = PARAM_REQUIRED | PARAM_ARRAY,
     .forms = OPS_FORM,
     .help = "several filters, done in this order: objects with filter and its parameters"},
    {.name = "sigma",
     .kind = PARAM_JSON,
     .flags = PARAM_NUMBER,
     .forms = FILTER_FORM,
     .help = "blur, sharpen: the radius in pixels, 0.1 to 100; 2 if it is not given"},
    {.name = "amount",
     .kind = PARAM_JSON,
     .flags = PARAM_NUMBER,
     .forms = FILTER_FORM,
     .help = "sharpen: how much, 0 to 20; 1.5 if it is not given"},
    {.name = "width",
     .kind = PARAM_INTEGER,
     .forms = FILTER_FORM,
     .min = "1",
     .max = "100000",
     .help = "thumbnail, crop: pixels"},
    {.name = "height",
     .kind = PARAM_INTEGER,
     .forms = FILTER_FORM,
     .min = "1",
     .max = "100000",
     .help = "thumbnail, crop: pixels"},
    {.name = "fit",
     .kind = PARAM_ENUM,
     .forms = FILTER_FORM,
     .choices = image_fits,
     .help = "thumbnail: inside the box and never larger than it was (inside, if it is not given), cover the box, or "
             "fill it"},
    {.name = "angle",
     .kind = PARAM_INTEGER,
     .forms = FILTER_FORM,
     .min = "-360",
     .max = "360",
     .help = "rotate: degrees, clockwise; 90 if it is not given"},
    {.name = "direction",
     .kind = PARAM_ENUM,
     .forms = FILTER_FORM,
     .choices = image_directions,
     .help = "flip: horizontal if it is not given"},
    {.name = "left",
     .kind = PARAM_INTEGER,
     .forms = FILTER_FORM,
     .min = "0",
     .max = "100000",
     .help = "crop: pixels from the left; 0 if it is not given"},
    {.name = "top",
     .kind = PARAM_INTEGER,
     .forms = FILTER_FORM,
     .min = "0",
     .max = "100000",
     .help = "crop: pixels from the top; 0 if it is not given"},
    {.name = "format",
     .kind = PARAM_ENUM,
     .choices = image_format_names,
     .help = "of the result; if it is not given, the header Accept or the image itself says it"},
    {.name = "quality",
     .kind = PARAM_INTEGER,
     .min = "1",
     .max = "100",
     .help = "of JPEG, WebP and AVIF; 80 or, for AVIF, 60 if it is not given"},
    {.name = "keep_metadata",
     .kind = PARAM_BOOLEAN,
     .fallback = "false",
     .help = "keep EXIF, XMP and the like, which are dropped otherwise"},
    {0}};

const struct handler handler_image = {.abi = HANDLER_ABI,
                                      .name = "image",
                                      .summary = "Filter an image, make it smaller, or convert it",
                                      .forms = forms,
                                      .params = image_params,
                                      .results = image_media_types,
                                      .result_param = "format",
                                      .load = image_load,
                                      .plan = image_plan,
                                      .run = image_run,
                                      .merge = image_merge};
