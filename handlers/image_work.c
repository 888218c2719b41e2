/* image_work.c: see image_work.h.
 *
 *     file ──► decoded ──► turned as EXIF says ──► sRGB, 8 bits ──► the operations ──► without metadata ──► file
 *
 * Only the six formats of the table are opened, and by what the file is, not by what the client calls it. All that
 * libvips makes on the way belongs to a struct work, and is dropped with it. An image with several frames is one tall
 * image to libvips, so what looks at the neighbours of a pixel is done frame by frame. */
#include "handlers/image_work.h"

#include <stdio.h>
#include <string.h>

#include "handlers/image_matrix.h"
#include "handlers/vips_library.h"

#define MOST_IMAGES 512 /* made on the way, for one frame: far more than the operations can need */

const char *const image_format_names[IMAGE_FORMATS + 1] = {"jpeg", "png", "webp", "avif", "tiff", "gif", NULL};
const char *const image_media_types[IMAGE_FORMATS + 1] = {"image/jpeg", "image/png", "image/webp", "image/avif",
                                                          "image/tiff", "image/gif", NULL};

/* ---- what is made on the way ------------------------------------------------------------------------------------- */

struct work {
    struct call *call;
    VipsImage *made[MOST_IMAGES];
    size_t count;
    uint64_t frames, frames_done; /* 0 of one that does not move */
    VipsImage *last;              /* what is computed or written now; NULL: not yet */
    uint64_t done;                /* of 100 for each frame and 100 for the file: as far as was said */
};

/* Takes an image that a function of libvips has made; NULL: it has failed. */
static VipsImage *keep(struct work *w, VipsImage *image) {
    if (image == NULL || w->count == MOST_IMAGES)
        return NULL;
    w->made[w->count++] = image;
    return image;
}

/* Likewise of a function that returns 0 or -1. The order in which arguments are looked at is open, so *image is looked
 * at in here. */
static VipsImage *take(struct work *w, int rc, VipsImage *const *image) {
    return rc == 0 ? keep(w, *image) : NULL;
}

static void drop_to(struct work *w, size_t count) {
    while (w->count > count)
        vips.unref(w->made[--w->count]);
}

static VipsImage *copy_of(struct work *w, VipsImage *image) {
    VipsImage *copy = NULL;
    return take(w, vips.copy(image, &copy, NULL), &copy);
}

/* The first line of what libvips says. */
static void read_error(char *to, size_t room) {
    const char *text = vips.error_buffer();
    size_t size = strcspn(text, "\n");
    snprintf(to, room, "%.*s", size > 200 ? 200 : (int)size, text);
    vips.error_clear();
}

static int fail_damaged(struct call *c) {
    char why[256];
    read_error(why, sizeof why);
    if (strstr(why, "out of memory") != NULL)
        return call_fail(c, CALL_MEMORY, NULL, "there is no memory for the image");
    if (strstr(why, "save: Unsupported compression") != NULL)
        return call_fail(c, CALL_FAILED, NULL, "libvips cannot write this format here: %s", why);
    return call_fail(c, CALL_INVALID, "/image", "the image is damaged: %s", why[0] == '\0' ? "it cannot be read" : why);
}

/* ---- heads ------------------------------------------------------------------------------------------------------- */

static bool has(const unsigned char *at, size_t size, size_t offset, const char *text) {
    size_t n = strlen(text);
    return size >= offset + n && memcmp(at + offset, text, n) == 0;
}

/* By the first bytes, as their specifications say. IMAGE_FORMATS: none of them. */
static enum image_format find_format(const unsigned char *at, size_t size) {
    static const char tiff_little[] = "II*", tiff_big[] = "MM";
    if (has(at, size, 0, "\xff\xd8\xff"))
        return IMAGE_JPEG;
    if (has(at, size, 0, "\x89PNG\r\n\x1a\n"))
        return IMAGE_PNG;
    if (has(at, size, 0, "RIFF") && has(at, size, 8, "WEBP"))
        return IMAGE_WEBP;
    if (has(at, size, 4, "ftypavif") || has(at, size, 4, "ftypavis"))
        return IMAGE_AVIF;
    if ((has(at, size, 0, tiff_little) && size > 3 && at[3] == 0) ||
        (has(at, size, 0, tiff_big) && size > 3 && at[2] == 0 && at[3] == '*'))
        return IMAGE_TIFF;
    if (has(at, size, 0, "GIF87a") || has(at, size, 0, "GIF89a"))
        return IMAGE_GIF;
    return IMAGE_FORMATS;
}

static bool can_move(enum image_format format) {
    return format == IMAGE_GIF || format == IMAGE_WEBP;
}

static const char *load_options(bool all_frames) {
    return all_frames ? "[n=-1]" : "";
}

/* Is it to be turned by 90 degrees (EXIF 2.3, tag 0x0112)? */
static bool is_turned(VipsImage *image) {
    VipsImage *upright = NULL;
    if (vips.autorot(image, &upright, NULL) != 0)
        return false;
    bool turned = vips.image_get_width(upright) != vips.image_get_width(image);
    vips.unref(upright);
    return turned;
}

int image_read_head(struct call *c, const void *bytes, size_t size, struct image_head *head) {
    const char *why = vips_library_open();
    if (why != NULL)
        return call_fail(c, CALL_FAILED, NULL, "%s", why);
    head->format = find_format(bytes, size);
    if (head->format == IMAGE_FORMATS)
        return call_fail(c, CALL_INVALID, "/image", "is no JPEG, PNG, WebP, AVIF, TIFF or GIF");
    VipsImage *image = vips.image_new_from_buffer(bytes, size, load_options(can_move(head->format)), "access",
                                                  VIPS_ACCESS_SEQUENTIAL, NULL);
    if (image == NULL)
        return fail_damaged(c);
    bool turned = is_turned(image);
    int width = vips.image_get_width(image), height = vips.image_get_page_height(image);
    head->frames = can_move(head->format) ? vips.image_get_n_pages(image) : 1;
    head->width = turned ? height : width;
    head->height = turned ? width : height;
    vips.unref(image);
    vips.error_clear();
    return 0;
}

/* ---- colours ----------------------------------------------------------------------------------------------------- */

/* To sRGB with 8 bits a band. An image without a profile is what its bands say. */
static VipsImage *to_srgb(struct work *w, VipsImage *image) {
    VipsImage *out = NULL;
    VipsInterpretation from = vips.image_get_interpretation(image);
    bool cmyk = from == VIPS_INTERPRETATION_CMYK, profile = vips.image_get_typeof(image, VIPS_META_ICC_NAME) != 0;
    if (profile || cmyk) {
        int rc = profile
                     ? vips.icc_transform(image, &out, "srgb", "embedded", TRUE, "intent", VIPS_INTENT_RELATIVE, NULL)
                     : vips.icc_transform(image, &out, "srgb", "input_profile", "cmyk", NULL);
        if (rc == 0)
            image = take(w, rc, &out);
        else
            vips.error_clear(); /* a profile that does not fit is as good as none */
    }
    if (image == NULL)
        return NULL;
    from = vips.image_get_interpretation(image);
    if (from != VIPS_INTERPRETATION_sRGB && from != VIPS_INTERPRETATION_B_W) {
        bool grey = from == VIPS_INTERPRETATION_GREY16;
        out = NULL;
        image = take(w, vips.colourspace(image, &out, grey ? VIPS_INTERPRETATION_B_W : VIPS_INTERPRETATION_sRGB, NULL),
                     &out);
    }
    /* A TIFF can have more channels than colours and alpha. */
    int most = image == NULL ? 0 : vips.image_get_interpretation(image) == VIPS_INTERPRETATION_B_W ? 2 : 4;
    out = NULL;
    if (image != NULL && vips.image_get_bands(image) > most)
        image = take(w, vips.extract_band(image, &out, 0, "n", most, NULL), &out);
    if (image == NULL || vips.image_get_format(image) == VIPS_FORMAT_UCHAR)
        return image;
    out = NULL;
    return take(w, vips.cast(image, &out, VIPS_FORMAT_UCHAR, NULL), &out);
}

/* Does f to the colours, and leaves the alpha channel as it is. */
static VipsImage *on_colours(struct work *w, VipsImage *image, const void *arg,
                             VipsImage *(*f)(struct work *w, VipsImage *image, const void *arg)) {
    VipsImage *colours = NULL, *alpha = NULL, *out = NULL;
    int bands = vips.image_get_bands(image);
    if (!vips.image_hasalpha(image))
        return f(w, image, arg);
    colours = take(w, vips.extract_band(image, &colours, 0, "n", bands - 1, NULL), &colours);
    alpha = colours == NULL ? NULL : take(w, vips.extract_band(image, &alpha, bands - 1, NULL), &alpha);
    colours = alpha == NULL ? NULL : f(w, colours, arg);
    if (colours == NULL)
        return NULL;
    VipsImage *both[2] = {colours, alpha};
    out = take(w, vips.bandjoin(both, &out, 2, NULL), &out);
    return out;
}

static VipsImage *to_bytes(struct work *w, VipsImage *image) {
    double one[1] = {1}, half[1] = {0.5}; /* what is cast loses its fraction */
    VipsImage *out = NULL;
    return take(w, vips.linear(image, &out, one, half, 1, "uchar", TRUE, NULL), &out);
}

/* ---- the operations ---------------------------------------------------------------------------------------------- */

/* A large bell is put together from boxes, which takes as long for every radius. Of a small one they are too coarse. (A
 * bell of integers, which libvips has if it is not told, makes images darker by up to 2 of 255.) */
static VipsImage *gauss(struct work *w, VipsImage *image, double sigma) {
    VipsImage *out = NULL;
    int precision = sigma < 2 ? VIPS_PRECISION_FLOAT : VIPS_PRECISION_APPROXIMATE;
    out = take(w, vips.gaussblur(image, &out, sigma, "min_ampl", 0.01, "precision", precision, NULL), &out);
    return out == NULL || vips.image_get_format(out) == VIPS_FORMAT_UCHAR ? out : to_bytes(w, out);
}

/* The colour of a pixel counts as much as it is visible: what is transparent has no colour that could spread. */
static VipsImage *blur(struct work *w, VipsImage *image, const void *arg) {
    const struct image_op *op = arg;
    VipsImage *visible = NULL, *bytes = NULL, *plain = NULL;
    if (!vips.image_hasalpha(image))
        return gauss(w, image, (double)op->sigma);
    visible = take(w, vips.premultiply(image, &visible, NULL), &visible);
    bytes = visible == NULL ? NULL : gauss(w, visible, (double)op->sigma);
    plain = bytes == NULL ? NULL : take(w, vips.unpremultiply(bytes, &plain, NULL), &plain);
    return plain == NULL ? NULL : to_bytes(w, plain);
}

/* An unsharp mask: what a blur takes away is added once more, `amount` times. */
static VipsImage *sharpen(struct work *w, VipsImage *image, const void *arg) {
    const struct image_op *op = arg;
    VipsImage *blurred = blur(w, image, arg), *difference = NULL, *scaled = NULL, *sum = NULL, *out = NULL;
    double amount[1] = {(double)op->amount}, half[1] = {0.5};
    if (blurred == NULL)
        return NULL;
    difference = take(w, vips.subtract(image, blurred, &difference, NULL), &difference);
    scaled = difference == NULL ? NULL : take(w, vips.linear(difference, &scaled, amount, half, 1, NULL), &scaled);
    sum = scaled == NULL ? NULL : take(w, vips.add(image, scaled, &sum, NULL), &sum);
    return sum == NULL ? NULL : take(w, vips.cast(sum, &out, VIPS_FORMAT_UCHAR, NULL), &out);
}

/* Clockwise. What becomes free at an angle that is no multiple of 90 is transparent. */
static VipsImage *rotate(struct work *w, VipsImage *image, int angle) {
    VipsImage *out = NULL;
    angle = ((angle % 360) + 360) % 360;
    if (angle == 0)
        return image;
    if (angle % 90 == 0) {
        VipsAngle by = angle == 90 ? VIPS_ANGLE_D90 : angle == 180 ? VIPS_ANGLE_D180 : VIPS_ANGLE_D270;
        return take(w, vips.rot(image, &out, by, NULL), &out);
    }
    VipsImage *clear = NULL;
    if (!vips.image_hasalpha(image))
        image = take(w, vips.addalpha(image, &clear, NULL), &clear);
    /* It looks at its input in any order. */
    VipsImage *memory = image == NULL ? NULL : keep(w, vips.image_copy_memory(image));
    return memory == NULL ? NULL : take(w, vips.rotate(memory, &out, (double)angle, NULL), &out);
}

static VipsImage *crop(struct work *w, VipsImage *image, const struct image_op *op) {
    VipsImage *out = NULL;
    int width = vips.image_get_width(image), height = vips.image_get_height(image);
    if (op->left > width - op->width || op->top > height - op->height) {
        call_fail(w->call, CALL_INVALID, "/image", "has %d x %d pixels here, so %d x %d cannot be cropped from %d, %d",
                  width, height, op->width, op->height, op->left, op->top);
        return NULL;
    }
    return take(w, vips.extract_area(image, &out, op->left, op->top, op->width, op->height, NULL), &out);
}

#define NO_BOUND 10000000 /* libvips' own */

static int fit_size(const struct image_op *op) {
    return op->choice == FIT_FILL ? VIPS_SIZE_FORCE : op->choice == FIT_COVER ? VIPS_SIZE_BOTH : VIPS_SIZE_DOWN;
}

static int fit_crop(const struct image_op *op) {
    return op->choice == FIT_COVER ? VIPS_INTERESTING_CENTRE : VIPS_INTERESTING_NONE;
}

/* The side that goes with `other` as `side` did with `was`: at least 1. */
static int in_proportion(int side, int other, int was) {
    int64_t pixels = ((int64_t)side * other + was / 2) / was;
    return pixels < 1 ? 1 : pixels > NO_BOUND ? NO_BOUND : (int)pixels;
}

/* A side that is not given follows from the other one. */
static void fit_sides(const struct image_op *op, const struct image_head *head, int *width, int *height) {
    *width = op->width > 0 ? op->width : NO_BOUND;
    *height = op->height > 0 ? op->height : NO_BOUND;
    if (op->choice != FIT_INSIDE && op->width == 0)
        *width = in_proportion(head->width, op->height, head->height);
    if (op->choice != FIT_INSIDE && op->height == 0)
        *height = in_proportion(head->height, op->width, head->width);
}

static VipsImage *thumbnail(struct work *w, VipsImage *image, const struct image_op *op) {
    VipsImage *out = NULL;
    struct image_head head = {.width = vips.image_get_width(image), .height = vips.image_get_height(image)};
    int width, height;
    fit_sides(op, &head, &width, &height);
    return take(w,
                vips.thumbnail_image(image, &out, width, "height", height, "size", fit_size(op), "crop", fit_crop(op),
                                     "no_rotate", TRUE, NULL),
                &out);
}

static VipsImage *apply(struct work *w, VipsImage *image, const struct image_op *op) {
    VipsImage *out = NULL;
    switch ((enum image_filter)op->filter) {
    case FILTER_GRAYSCALE:
        if (vips.image_get_bands(image) < 3)
            return image;
        return keep(w, image_grey(image));
    case FILTER_SEPIA: return keep(w, image_sepia(image));
    case FILTER_BLUR: return blur(w, image, op);
    case FILTER_SHARPEN: return on_colours(w, image, op, sharpen);
    case FILTER_THUMBNAIL: return thumbnail(w, image, op);
    case FILTER_ROTATE: return rotate(w, image, op->angle);
    case FILTER_FLIP:
        return take(w,
                    vips.flip(image, &out, op->choice != 0 ? VIPS_DIRECTION_VERTICAL : VIPS_DIRECTION_HORIZONTAL, NULL),
                    &out);
    case FILTER_CROP: return crop(w, image, op);
    default: return image;
    }
}

/* Computes the image now, once, and drops what it was made of after the first `count`. */
static VipsImage *compute(struct work *w, VipsImage *image, size_t count) {
    w->last = image;
    VipsImage *memory = call_cancelled(w->call) ? NULL : vips.image_copy_memory(image);
    w->last = NULL;
    drop_to(w, count);
    return keep(w, memory);
}

/* A blur or a sharpening asks for each line of its input several times. If that were another one, which asks for its own
 * input as often, a list of them would take for ever. */
static VipsImage *apply_all(struct work *w, VipsImage *image, const struct image_op *ops, size_t count) {
    size_t before = w->count;
    for (size_t i = 0; image != NULL && i < count; i++) {
        if (i > 0 && (ops[i].filter == FILTER_BLUR || ops[i].filter == FILTER_SHARPEN))
            image = compute(w, image, before);
        if (image != NULL)
            image = apply(w, image, &ops[i]);
    }
    return image;
}

/* ---- from a file to a file --------------------------------------------------------------------------------------- */

static void on_eval(VipsImage *image, VipsProgress *progress, struct work *w) {
    uint64_t done = w->frames_done * 100 + (uint64_t)progress->percent;
    if (done > w->done) /* each step of the way counts from 0 */
        w->done = done;
    call_progress(w->call, w->done, (w->frames + 1) * 100);
    if (!call_cancelled(w->call))
        return;
    vips.image_set_kill(image, TRUE);
    if (w->last != NULL) /* what is between the two can have all of the first one already */
        vips.image_set_kill(w->last, TRUE);
}

/* Hears of what is computed of the image, and of those that are made of it. */
static void watch(struct work *w, VipsImage *image) {
    vips.image_set_progress(image, TRUE);
    vips.connect(image, "eval", G_CALLBACK(on_eval), w, NULL, 0);
}

/* What libvips has to have in memory: operations that look at pixels in another order than from top to bottom. */
static bool needs_all(const struct image_op *ops, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (ops[i].filter == FILTER_ROTATE || (ops[i].filter == FILTER_FLIP && ops[i].choice != 0))
            return true;
    return false;
}

static VipsImage *load(struct work *w, const void *bytes, size_t size, const struct image_head *head,
                       const struct image_op *ops, size_t count) {
    VipsImage *out = NULL, *upright = NULL;
    bool in_order = head->frames == 1 && !needs_all(ops, count);
    out = keep(w, vips.image_new_from_buffer(bytes, size, load_options(head->frames > 1), "access",
                                             in_order ? VIPS_ACCESS_SEQUENTIAL : VIPS_ACCESS_RANDOM, "fail_on",
                                             VIPS_FAIL_ON_ERROR, NULL));
    if (out == NULL)
        return NULL;
    if (in_order && vips.image_get_orientation(out) > 1) { /* it can be read in another order */
        out = keep(w, vips.image_new_from_buffer(bytes, size, load_options(head->frames > 1), "access",
                                                 VIPS_ACCESS_RANDOM, "fail_on", VIPS_FAIL_ON_ERROR, NULL));
    }
    if (out != NULL)
        watch(w, out);
    upright = out == NULL ? NULL : take(w, vips.autorot(out, &upright, NULL), &upright);
    return upright == NULL ? NULL : to_srgb(w, upright);
}

/* The first operation makes the image small, so the decoder can leave out most of the work. */
static VipsImage *load_small(struct work *w, const void *bytes, size_t size, const struct image_head *head,
                             const struct image_op *op) {
    VipsImage *out = NULL;
    int width, height;
    union {
        const void *in;
        void *out;
    } data = {bytes};
    fit_sides(op, head, &width, &height);
    out = take(w,
               vips.thumbnail_buffer(data.out, size, &out, width, "height", height, "size", fit_size(op), "crop",
                                     fit_crop(op), "option_string", "[fail_on=error]", NULL),
               &out);
    return out == NULL ? NULL : to_srgb(w, out);
}

/* Each frame by itself, and then one below the other again. */
static VipsImage *work_on_frames(struct work *w, VipsImage *tall, const struct image_head *head,
                                 const struct image_op *ops, size_t count) {
    VipsImage *frames[IMAGE_MAX_FRAMES], *out = NULL;
    int width = vips.image_get_width(tall), height = vips.image_get_height(tall) / head->frames;
    for (int i = 0; i < head->frames; i++) {
        struct work one = {.call = w->call};
        VipsImage *frame = NULL, *memory = NULL;
        frame = take(&one, vips.extract_area(tall, &frame, 0, i * height, width, height, NULL), &frame);
        frame = apply_all(&one, frame, ops, count);
        memory = frame == NULL || call_cancelled(w->call) ? NULL : vips.image_copy_memory(frame);
        drop_to(&one, 0);
        for (int j = 0; memory == NULL && j < i; j++)
            vips.unref(frames[j]);
        if (memory == NULL)
            return NULL;
        frames[i] = memory;
        w->frames_done = (uint64_t)i + 1;
    }
    int page_height = vips.image_get_height(frames[0]);
    int rc = vips.arrayjoin(frames, &out, head->frames, "across", 1, NULL);
    for (int i = 0; i < head->frames; i++)
        vips.unref(frames[i]);
    out = take(w, rc, &out);
    VipsImage *copy = out == NULL ? NULL : copy_of(w, out);
    if (copy != NULL)
        vips.image_set_int(copy, VIPS_META_PAGE_HEIGHT, page_height);
    return copy;
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

/* A copy without the profile. The colours are sRGB, which is what a file without one has. A profile of three bands does
 * not fit an image that is grey now. */
static VipsImage *without_profile(struct work *w, VipsImage *image) {
    VipsImage *copy = copy_of(w, image);
    if (copy != NULL)
        vips.image_remove(copy, VIPS_META_ICC_NAME);
    return copy;
}

/* A copy without EXIF, XMP, IPTC and profiles, but with what a moving image needs. */
static VipsImage *without_metadata(struct work *w, VipsImage *image) {
    VipsImage *copy = copy_of(w, image);
    if (copy == NULL)
        return NULL;
    static const char *const kept[] = {VIPS_META_PAGE_HEIGHT, VIPS_META_N_PAGES, "delay", "loop", "gif-palette", NULL};
    gchar **names = vips.image_get_fields(copy);
    for (gchar **name = names; name != NULL && *name != NULL; name++) {
        size_t i = 0;
        while (kept[i] != NULL && strcmp(kept[i], *name) != 0)
            i++;
        if (kept[i] == NULL)
            vips.image_remove(copy, *name); /* no effect on what is no metadata */
    }
    vips.free_list(names);
    return copy;
}

/* A format without transparency gets a white ground. */
static VipsImage *flatten(struct work *w, VipsImage *image) {
    VipsImage *out = NULL;
    if (!vips.image_hasalpha(image))
        return image;
    const double white[1] = {255};
    VipsArrayDouble *ground = vips.array_double_new(white, 1);
    out = take(w, vips.flatten(image, &out, "background", ground, NULL), &out);
    vips.area_unref((VipsArea *)ground);
    return out;
}

/* "[Q=80]" and so on, see vips_jpegsave_buffer and its siblings. Without "strip" they make EXIF data of their own. */
static void save_options(char to[96], const struct image_saving *s) {
    unsigned q = s->quality;
    const char *strip = s->keep_metadata ? "" : ",strip=true";
    switch ((enum image_format)s->format) {
    case IMAGE_JPEG: snprintf(to, 96, ".jpg[Q=%u%s]", q > 0 ? q : 80, strip); break;
    case IMAGE_PNG: snprintf(to, 96, ".png[compression=6%s]", strip); break;
    case IMAGE_WEBP: snprintf(to, 96, ".webp[Q=%u%s]", q > 0 ? q : 80, strip); break;
    case IMAGE_AVIF: snprintf(to, 96, ".avif[Q=%u,compression=av1,effort=3%s]", q > 0 ? q : 60, strip); break;
    case IMAGE_TIFF: snprintf(to, 96, ".tif[compression=deflate,predictor=horizontal%s]", strip); break;
    default: snprintf(to, 96, ".gif"); break;
    }
}

/* What the formats can have, and libvips with them. */
static int check_sides(struct work *w, VipsImage *image, enum image_format format, int frames) {
    static const int most[IMAGE_FORMATS] = {65500, 1000000, 16383, 16384, 10000000, 65535};
    int width = vips.image_get_width(image), height = vips.image_get_height(image) / frames;
    if (width <= most[format] && height <= most[format])
        return 0;
    return call_fail(w->call, CALL_INVALID, "/image",
                     "becomes %d x %d pixels; the sides of a file of the format %s have at most %d", width, height,
                     image_format_names[format], most[format]);
}

static int save(struct work *w, VipsImage *image, const struct image_saving *s) {
    char options[96];
    void *bytes = NULL;
    size_t size = 0;
    VipsImage *plain = s->keep_metadata ? without_profile(w, image) : without_metadata(w, image);
    if (plain != NULL && s->format == IMAGE_JPEG)
        plain = flatten(w, plain);
    if (plain == NULL)
        return -1;
    w->last = plain;
    if (s->format != IMAGE_WEBP || w->frames == 0) /* libvips leaks memory if it is stopped there */
        watch(w, plain);                           /* no effect if its input is watched */
    save_options(options, s);
    if (vips.image_write_to_buffer(plain, options, &bytes, &size, NULL) != 0)
        return -1;
    void *part = part_map(w->call, size);
    if (part != NULL)
        memcpy(part, bytes, size);
    vips.free(bytes);
    return part == NULL ? -1 : 0;
}

int image_work(struct call *c, const void *bytes, size_t size, const struct image_head *head,
               const struct image_op *ops, size_t count, const struct image_saving *saving) {
    const char *why = vips_library_open();
    if (why != NULL)
        return call_fail(c, CALL_FAILED, NULL, "%s", why);
    struct work w = {.call = c};
    struct image_head wanted = *head;
    if (!can_move(saving->format))
        wanted.frames = 1; /* the first one */
    if (wanted.frames > 1)
        w.frames = (uint64_t)wanted.frames;
    VipsImage *image;
    if (count > 0 && ops[0].filter == FILTER_THUMBNAIL && wanted.frames == 1) {
        image = load_small(&w, bytes, size, &wanted, &ops[0]);
        ops++;
        count--;
    } else {
        image = load(&w, bytes, size, &wanted, ops, count);
    }
    if (image != NULL)
        image = wanted.frames > 1 ? work_on_frames(&w, image, &wanted, ops, count) : apply_all(&w, image, ops, count);
    int rc = image == NULL || check_sides(&w, image, saving->format, wanted.frames) != 0 ? -1 : save(&w, image, saving);
    drop_to(&w, 0);
    if (rc != 0 && !call_cancelled(c))
        fail_damaged(c); /* no effect if the reason is known already */
    vips.error_clear();
    return rc;
}
