/* image_ops.c: see image_ops.h. The text of a PARAM_JSON is compact JSON that was checked, so its tokens follow each other
 * without white space. */
#include "handlers/image_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const image_filters[FILTERS + 1] = {"grayscale", "blur", "sharpen", "sepia",   "thumbnail",
                                                "rotate",    "flip", "crop",    "convert", NULL};
const char *const image_fits[4] = {"inside", "cover", "fill", NULL};
const char *const image_directions[3] = {"horizontal", "vertical", NULL};

enum field {
    FIELD_FILTER,
    FIELD_SIGMA,
    FIELD_AMOUNT,
    FIELD_WIDTH,
    FIELD_HEIGHT,
    FIELD_FIT,
    FIELD_ANGLE,
    FIELD_DIRECTION,
    FIELD_LEFT,
    FIELD_TOP,
    FIELDS
};

/* What each member is, and which filters have it. */
static const struct {
    const char *name;
    double min, max;
    bool integer;
    const char *const *choices; /* NULL: it is a number */
    unsigned filters;           /* a mask */
    unsigned required;          /* likewise: those that must have it */
} fields[FIELDS] = {
    [FIELD_FILTER] = {"filter", 0, 0, false, image_filters, (1u << FILTERS) - 1, (1u << FILTERS) - 1},
    [FIELD_SIGMA] = {"sigma", 0.1, 100, false, NULL, 1u << FILTER_BLUR | 1u << FILTER_SHARPEN, 0},
    [FIELD_AMOUNT] = {"amount", 0, 20, false, NULL, 1u << FILTER_SHARPEN, 0},
    [FIELD_WIDTH] = {"width", 1, 100000, true, NULL, 1u << FILTER_THUMBNAIL | 1u << FILTER_CROP, 1u << FILTER_CROP},
    [FIELD_HEIGHT] = {"height", 1, 100000, true, NULL, 1u << FILTER_THUMBNAIL | 1u << FILTER_CROP, 1u << FILTER_CROP},
    [FIELD_FIT] = {"fit", 0, 0, false, image_fits, 1u << FILTER_THUMBNAIL, 0},
    [FIELD_ANGLE] = {"angle", -360, 360, true, NULL, 1u << FILTER_ROTATE, 0},
    [FIELD_DIRECTION] = {"direction", 0, 0, false, image_directions, 1u << FILTER_FLIP, 0},
    [FIELD_LEFT] = {"left", 0, 100000, true, NULL, 1u << FILTER_CROP, 0},
    [FIELD_TOP] = {"top", 0, 100000, true, NULL, 1u << FILTER_CROP, 0},
};

/* The members of one operation. */
struct given {
    bool has[FIELDS];
    double value[FIELDS]; /* or the index of a choice */
};

/* Checks that the members go together, and makes the operation of them. at: the JSON pointer to it. */
static int finish(struct call *c, const char *at, const struct given *g, struct image_op *op) {
    unsigned filter = (unsigned)g->value[FIELD_FILTER], bit = 1u << filter;
    char pointer[64];
    for (int i = 0; i < FIELDS; i++) {
        snprintf(pointer, sizeof pointer, "%s/%s", at, fields[i].name);
        if (g->has[i] && (fields[i].filters & bit) == 0)
            return call_fail(c, CALL_INVALID, pointer, "is not for the filter \"%s\"", image_filters[filter]);
        if (!g->has[i] && (fields[i].required & bit) != 0)
            return call_fail(c, CALL_INVALID, at, "%s is required for the filter \"%s\"", fields[i].name,
                             image_filters[filter]);
    }
    if (filter == FILTER_THUMBNAIL && !g->has[FIELD_WIDTH] && !g->has[FIELD_HEIGHT])
        return call_fail(c, CALL_INVALID, at, "width or height is required for the filter \"thumbnail\"");
    *op =
        (struct image_op){.filter = filter,
                          .choice = (uint32_t)(filter == FILTER_FLIP ? g->value[FIELD_DIRECTION] : g->value[FIELD_FIT]),
                          .left = (int32_t)g->value[FIELD_LEFT],
                          .top = (int32_t)g->value[FIELD_TOP],
                          .width = (int32_t)g->value[FIELD_WIDTH],
                          .height = (int32_t)g->value[FIELD_HEIGHT],
                          .angle = g->has[FIELD_ANGLE] ? (int32_t)g->value[FIELD_ANGLE] : 90,
                          .sigma = (float)(g->has[FIELD_SIGMA] ? g->value[FIELD_SIGMA] : 2),
                          .amount = (float)(g->has[FIELD_AMOUNT] ? g->value[FIELD_AMOUNT] : 1.5)};
    return 0;
}

/* ---- one member -------------------------------------------------------------------------------------------------- */

static int fail_choice(struct call *c, const char *pointer, const char *const *choices) {
    char list[120] = "";
    for (size_t i = 0, n = 0; choices[i] != NULL && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s\"%s\"", i > 0 ? ", " : "", choices[i]);
    return call_fail(c, CALL_INVALID, pointer, "must be one of %s", list);
}

/* Takes the value that stands at *at, of the field, and moves *at behind it. */
static int take_value(struct call *c, int field, const char *pointer, const char **at, struct given *g) {
    const char *const *choices = fields[field].choices;
    if (choices != NULL) {
        for (size_t i = 0; **at == '"' && choices[i] != NULL; i++) {
            size_t size = strlen(choices[i]);
            if (strncmp(*at + 1, choices[i], size) != 0 || (*at)[size + 1] != '"')
                continue;
            *at += size + 2;
            g->has[field] = true;
            g->value[field] = (double)i;
            return 0;
        }
        return fail_choice(c, pointer, choices);
    }
    char *end = NULL;
    double value = **at == '-' || (**at >= '0' && **at <= '9') ? strtod(*at, &end) : 0;
    if (end == NULL)
        return call_fail(c, CALL_INVALID, pointer, "must be a number");
    if (!(value >= fields[field].min && value <= fields[field].max))
        return call_fail(c, CALL_INVALID, pointer, "must be from %g to %g", fields[field].min, fields[field].max);
    if (fields[field].integer && value != (double)(long)value)
        return call_fail(c, CALL_INVALID, pointer, "must be an integer");
    *at = end;
    g->has[field] = true;
    g->value[field] = value;
    return 0;
}

/* ---- "ops" ------------------------------------------------------------------------------------------------------- */

#define PLAIN_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

/* Reads one object at *at, which is a brace, and moves *at behind it. */
static int take_object(struct call *c, int index, const char **at, struct image_op *op) {
    struct given g = {{false}, {0}};
    char place[32], pointer[96];
    snprintf(place, sizeof place, "/ops/%d", index);
    if (**at != '{')
        return call_fail(c, CALL_INVALID, place, "must be an object");
    for (++*at; **at != '}'; *at += **at == ',') {
        int field = 0;
        size_t size = strcspn(*at + 1, "\"\\"); /* a name that is ours has no escapes */
        while (field < FIELDS &&
               (strlen(fields[field].name) != size || strncmp(*at + 1, fields[field].name, size) != 0))
            field++;
        bool plain = size <= 40 && strspn(*at + 1, PLAIN_LETTERS) == size; /* else a pointer would need escapes */
        snprintf(pointer, sizeof pointer, "%s%s%.*s", place, plain ? "/" : "", plain ? (int)size : 0, *at + 1);
        if (field == FIELDS || (*at)[size + 1] != '"')
            return call_fail(
                c, CALL_INVALID, pointer,
                "is no member of an operation; there are filter, sigma, amount, width, height, fit, angle, "
                "direction, left and top");
        *at += size + 3; /* two quotes and a colon */
        if (take_value(c, field, pointer, at, &g) != 0)
            return -1;
    }
    ++*at;
    if (!g.has[FIELD_FILTER])
        return call_fail(c, CALL_INVALID, place, "filter is required");
    return finish(c, place, &g, op);
}

static int read_list(struct call *c, const char *text, struct image_op ops[IMAGE_MAX_OPS]) {
    int count = 0;
    const char *at = text + 1;
    for (; *at != ']'; at += *at == ',') {
        if (count == IMAGE_MAX_OPS)
            return call_fail(c, CALL_INVALID, "/ops", "has more than %d operations", IMAGE_MAX_OPS);
        if (take_object(c, count, &at, &ops[count]) != 0)
            return -1;
        count++;
    }
    return count;
}

/* ---- "filter" and its parameters --------------------------------------------------------------------------------- */

static int read_flat(struct call *c, const struct params *p, struct image_op *op) {
    static const enum field integers[] = {FIELD_WIDTH, FIELD_HEIGHT, FIELD_ANGLE, FIELD_LEFT, FIELD_TOP};
    static const enum field reals[] = {FIELD_SIGMA, FIELD_AMOUNT};
    struct given g = {{false}, {0}};
    g.has[FIELD_FILTER] = true;
    g.value[FIELD_FILTER] = param_choice(p, "filter");
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        int64_t value = 0;
        const char *name = fields[integers[i]].name;
        g.has[integers[i]] = param_given(p, name) && param_i64(p, name, &value);
        g.value[integers[i]] = (double)value;
    }
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        size_t size;
        char pointer[32];
        const char *text = param_json(p, fields[reals[i]].name, &size);
        snprintf(pointer, sizeof pointer, "/%s", fields[reals[i]].name);
        if (text != NULL && take_value(c, (int)reals[i], pointer, &text, &g) != 0)
            return -1;
    }
    g.has[FIELD_FIT] = param_given(p, "fit");
    g.value[FIELD_FIT] = g.has[FIELD_FIT] ? param_choice(p, "fit") : 0;
    g.has[FIELD_DIRECTION] = param_given(p, "direction");
    g.value[FIELD_DIRECTION] = g.has[FIELD_DIRECTION] ? param_choice(p, "direction") : 0;
    return finish(c, "", &g, op) == 0 ? 1 : -1;
}

int image_read_ops(struct call *c, const struct params *p, struct image_op ops[IMAGE_MAX_OPS]) {
    size_t size;
    const char *text = param_json(p, "ops", &size);
    return text != NULL ? read_list(c, text, ops) : read_flat(c, p, &ops[0]);
}
