/* submission_plain.c: see submission_plain.h. There is one pass over the text, and no tree. What it does not know it
 * leaves to the general way: another order of the members, options, escapes, and all that is wrong.
 *
 * It runs in the front end for small submissions, tens of thousands of times a second, and in workers for large ones. */
#include "handlers/host/submission_plain.h"

#include <stdlib.h>

#include "handlers/host/params_flat.h"
#include "handlers/host/registry.h"
#include "handlers/host/scan.h"

#define DEPTH    2 /* of such a body */
#define MAX_NAME 64

/* What is remembered of the last params of each type. Kept until the process ends. NULL: memory ran out. */
static struct flat *flat_of(uint32_t type) {
    static struct flat *flats;
    static size_t count;
    const struct params_table *table = registry_table(type);
    if (type >= count) {
        struct flat *more = reallocarray(flats, host_count(), sizeof *more);
        if (more == NULL)
            return NULL;
        memset(more + count, 0, (host_count() - count) * sizeof *more);
        flats = more;
        count = host_count();
    }
    if (flats[type].table != table || flats[type].serial != table->serial) {
        flat_deinit(&flats[type]);
        flat_init(&flats[type], table);
    }
    return &flats[type];
}

/* Passes over the name of a member and the colon behind it. NULL if it has another name. */
static const char *expect_name(const char *at, const char *end, const char *name) {
    size_t size = strlen(name);
    if ((size_t)(end - at) < size + 2 || *at != '"' || memcmp(at + 1, name, size) != 0 || at[size + 1] != '"')
        return NULL;
    at = scan_space(at + size + 2, end);
    return at < end && *at == ':' ? scan_space(at + 1, end) : NULL;
}

/* Passes over one character and the space behind it. */
static const char *expect(const char *at, const char *end, char c) {
    return at != NULL && at < end && *at == c ? scan_space(at + 1, end) : NULL;
}

/* Reads the name of a type. */
static const char *read_type(const char *at, const char *end, uint32_t *type) {
    char name[MAX_NAME + 1];
    if (at == NULL || at == end || *at != '"')
        return NULL;
    const char *stop = scan_plain_text(++at, end);
    if (stop == NULL || stop - at > MAX_NAME)
        return NULL;
    memcpy(name, at, (size_t)(stop - at));
    name[stop - at] = '\0';
    int found = host_find(name);
    *type = (uint32_t)found;
    return found < 0 ? NULL : scan_space(stop + 1, end);
}

bool submission_parse_plain(const char *json, size_t size, unsigned max_depth, struct submission *s) {
    uint32_t type;
    const char *end = json + size, *at = expect(scan_space(json, end), end, '{');
    if (at == NULL || max_depth < DEPTH)
        return false;
    at = read_type(expect_name(at, end, "type"), end, &type);
    at = expect(at, end, ',');
    at = at == NULL ? NULL : expect_name(at, end, "params");
    if (at == NULL || at == end || *at != '{')
        return false;
    struct flat *flat = flat_of(type);
    at = flat == NULL ? NULL : flat_pack(flat, at, end, &s->params);
    at = at == NULL ? NULL : expect(scan_space(at, end), end, '}');
    if (at != end || s->params.failed)
        return false;
    s->type = type;
    registry_init_options(type, &s->options);
    return true;
}
