/* image_matrix.c: see image_matrix.h. What libvips has for it (vips_recomb) computes in floats and needs another pass that
 * rounds them, which takes four times as long.
 *
 * A number of 64 bits has three lanes of 21 bits: red, green and blue of the result, with 12 bits behind the point. So a
 * pixel takes two additions: what its red gives to each of them, and its green, and its blue, stand in tables. */
#include "handlers/image_matrix.h"

#define LANE_BITS     21
#define FRACTION_BITS 12
#define LANE_MASK     ((1U << (LANE_BITS - FRACTION_BITS)) - 1)

struct matrix {
    int rows;        /* 1 or 3: bands of the result, without alpha */
    double by[3][3]; /* the weights of red, green and blue in each; none is negative; together less than 2 in a row */
    uint64_t at[3][256]; /* filled in by need_tables */
};

/* ITU-R BT.601, which JPEG and Pillow have too. */
static struct matrix grey = {.rows = 1, .by = {{0.299, 0.587, 0.114}}};
/* The weights that are usual for it. */
static struct matrix sepia = {.rows = 3, .by = {{0.393, 0.769, 0.189}, {0.349, 0.686, 0.168}, {0.272, 0.534, 0.131}}};

/* The half that rounds is in the last table. */
static void need_tables(struct matrix *m) {
    if (m->at[2][0] != 0)
        return;
    for (int colour = 0; colour < 3; colour++) {
        for (int value = 0; value < 256; value++) {
            for (int row = 0; row < m->rows; row++) {
                double part = m->by[row][colour] * value + (colour == 2 ? 0.5 : 0);
                m->at[colour][value] |= (uint64_t)(part * (1 << FRACTION_BITS) + 0.5) << (row * LANE_BITS);
            }
        }
    }
}

/* Called with constants, so that the compiler makes a loop without branches for each of them. */
static inline __attribute__((always_inline)) void do_line(const uint8_t *in, uint8_t *out, int pixels, int bands,
                                                          int rows, const struct matrix *m) {
    int colours = bands < 3 ? 1 : 3;
    for (int i = 0; i < pixels; i++, in += bands) {
        uint64_t sum = m->at[0][in[0]] + m->at[1][in[colours == 3 ? 1 : 0]] + m->at[2][in[colours == 3 ? 2 : 0]];
        uint8_t alpha = in[bands - 1];
        for (int row = 0; row < rows; row++) {
            unsigned value = (unsigned)(sum >> (row * LANE_BITS + FRACTION_BITS)) & LANE_MASK;
            *out++ = (uint8_t)(value > 255 ? 255 : value);
        }
        if (bands > colours)
            *out++ = alpha;
    }
}

static void do_any_line(const uint8_t *in, uint8_t *out, int pixels, int bands, const struct matrix *m) {
    switch (bands * 4 + m->rows) {
    case 1 * 4 + 1: do_line(in, out, pixels, 1, 1, m); break;
    case 1 * 4 + 3: do_line(in, out, pixels, 1, 3, m); break;
    case 2 * 4 + 1: do_line(in, out, pixels, 2, 1, m); break;
    case 2 * 4 + 3: do_line(in, out, pixels, 2, 3, m); break;
    case 3 * 4 + 1: do_line(in, out, pixels, 3, 1, m); break;
    case 3 * 4 + 3: do_line(in, out, pixels, 3, 3, m); break;
    case 4 * 4 + 1: do_line(in, out, pixels, 4, 1, m); break;
    default: do_line(in, out, pixels, 4, 3, m); break;
    }
}

/* The pixel at x, y of the image: what VIPS_REGION_ADDR does with a function of libvips. */
static uint8_t *pixel_at(VipsRegion *region, int x, int y, int bands) {
    return region->data + (ptrdiff_t)(y - region->valid.top) * region->bpl +
           (ptrdiff_t)(x - region->valid.left) * bands;
}

/* Called by libvips for a part of the result. */
static int generate(VipsRegion *to, void *sequence, void *image, void *matrix, gboolean *stop) {
    VipsRegion *from = sequence;
    (void)stop;
    const VipsRect *part = &to->valid;
    int bands = vips.image_get_bands(image), bands_out = vips.image_get_bands(to->im);
    if (vips.region_prepare(from, part) != 0)
        return -1;
    for (int y = part->top; y < part->top + part->height; y++)
        do_any_line(pixel_at(from, part->left, y, bands), pixel_at(to, part->left, y, bands_out), part->width, bands,
                    matrix);
    return 0;
}

static VipsImage *apply(VipsImage *image, struct matrix *m) {
    VipsImage *inputs[2] = {image, NULL}, *out = vips.image_new();
    need_tables(m);
    if (vips.image_pipeline_array(out, VIPS_DEMAND_STYLE_THINSTRIP, inputs) == 0) {
        out->Bands = m->rows + (vips.image_get_bands(image) % 2 == 0 ? 1 : 0);
        out->Type = m->rows == 1 ? VIPS_INTERPRETATION_B_W : VIPS_INTERPRETATION_sRGB;
        if (vips.image_generate(out, vips.start_one, generate, vips.stop_one, image, m) == 0)
            return out;
    }
    vips.unref(out);
    return NULL;
}

VipsImage *image_grey(VipsImage *image) {
    return apply(image, &grey);
}

VipsImage *image_sepia(VipsImage *image) {
    return apply(image, &sepia);
}
