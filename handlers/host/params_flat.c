/* params_flat.c: packs plain parameters from their text (params_flat.h). First the members are read into a small table.
 * Then the packed form is written at once, to the byte as params_pack writes it: a copy of what all objects with the
 * same members have in common, and the values.
 *
 * It accepts less than JSON and never more: an object is not plain either if a name is not a parameter or occurs twice.
 *
 * It runs in the front end for small submissions, and in workers for large ones. */
#include "handlers/host/params_flat.h"

#include "handlers/host/number.h"
#include "handlers/host/scan.h"

enum { MAX_DIGITS = 18, ALIGNMENT = 8 };

void flat_init(struct flat *f, const struct params_table *t) {
    memset(f, 0, sizeof *f);
    f->table = t;
    f->serial = t->serial;
    for (unsigned row = 0; row < t->rows; row++)
        f->name_sizes[row] = strlen(t->handler->params[row].name);
}

void flat_deinit(struct flat *f) {
    buf_deinit(&f->blank);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Reads a value. Returns its end, or NULL if it is not plain. */
static const char *read_value(const char *at, const char *end, struct flat_member *m) {
    if (at == end)
        return NULL;
    m->is_text = *at == '"';
    m->text = m->is_text ? at + 1 : at;
    const char *stop = m->is_text                                 ? scan_plain_text(m->text, end)
                       : *at == '-' || (*at >= '0' && *at <= '9') ? scan_plain_integer(at, end, MAX_DIGITS)
                                                                  : scan_plain_word(at, end);
    if (stop == NULL)
        return NULL;
    m->size = (size_t)(stop - m->text);
    return stop + m->is_text;
}

/* Passes over the name if it is the one of that row. NULL if it is not. */
static const char *skip_row(const struct flat *f, unsigned row, const char *name, const char *end) {
    size_t size = f->name_sizes[row];
    if ((size_t)(end - name) <= size || name[size] != '"' ||
        memcmp(f->table->handler->params[row].name, name, size) != 0)
        return NULL;
    return name + size + 1;
}

/* Finds the parameter whose name stands at `name`, behind the first quote. Most often it is the parameter of the same
 * member of the last object. Returns the place behind the second quote, or NULL if there is no such parameter. */
static const char *find_row(struct flat *f, unsigned member, const char *name, const char *end, unsigned *row) {
    *row = f->rows[member];
    const char *stop = f->table->rows > 0 ? skip_row(f, *row, name, end) : NULL;
    for (unsigned other = 0; stop == NULL && other < f->table->rows; other++) {
        stop = skip_row(f, other, name, end);
        *row = other;
    }
    f->rows[member] = *row;
    return stop;
}

/* ---- checks, as in params.c -------------------------------------------------------------------------------------- */

static bool check_integer(const struct param_spec *spec, struct flat_member *m) {
    if (m->is_text || m->text[0] > '9')
        return false;
    m->count = 1;
    m->packed = m->size + 1;
    return (spec->min == NULL || number_compare(m->text, m->size, spec->min, strlen(spec->min)) >= 0) &&
           (spec->max == NULL || number_compare(m->text, m->size, spec->max, strlen(spec->max)) <= 0);
}

static bool check_boolean(const struct param_spec *spec, struct flat_member *m) {
    (void)spec;
    m->count = m->text[0] == 't';
    return !m->is_text && (m->text[0] == 't' || m->text[0] == 'f');
}

static bool check_enum(const struct param_spec *spec, struct flat_member *m) {
    for (m->count = 0; m->is_text && spec->choices[m->count] != NULL; m->count++) {
        const char *choice = spec->choices[m->count];
        if (strlen(choice) == m->size && memcmp(choice, m->text, m->size) == 0)
            return true;
    }
    return false;
}

static bool check_text(const struct param_spec *spec, struct flat_member *m) {
    (void)spec;
    m->count = 1;
    m->packed = m->size + 1;
    return m->is_text;
}

/* Plain JSON is compact, too. */
static bool check_json(const struct param_spec *spec, struct flat_member *m) {
    if (!params_takes_kind(spec, m->is_text ? '"' : *m->text))
        return false;
    m->text -= m->is_text;
    m->size += 2 * (size_t)m->is_text;
    m->count = 1;
    m->packed = m->size + 1;
    return true;
}

static bool check_none(const struct param_spec *spec, struct flat_member *m) {
    (void)spec, (void)m;
    return false;
}

static bool (*const checks[])(const struct param_spec *spec, struct flat_member *m) = {
    [PARAM_INTEGER] = check_integer, [PARAM_BOOLEAN] = check_boolean, [PARAM_ENUM] = check_enum,
    [PARAM_TEXT] = check_text,       [PARAM_TEXTS] = check_none,      [PARAM_NUMBERS] = check_none,
    [PARAM_JSON] = check_json,       [PARAM_BYTES] = check_none,
};

const char *flat_read(const struct flat *f, unsigned row, const char *at, const char *end, struct flat_member *m) {
    const struct param_spec *spec = &f->table->handler->params[row];
    at = read_value(at, end, m);
    m->row = row;
    m->packed = 0;
    return at != NULL && checks[spec->kind](spec, m) ? at : NULL;
}

/* Reads a member, from the quote of its name on. Returns the end of its value, or NULL if it is not plain and right. */
static const char *read_member(struct flat *f, const char *at, const char *end, struct flat_object *o) {
    struct flat_member *m = &o->members[o->count];
    if (at == end || *at != '"' || o->count == PARAMS_MAX)
        return NULL;
    at = find_row(f, o->count, at + 1, end, &m->row);
    if (at == NULL)
        return NULL;
    at = scan_space(at, end);
    if (at == end || *at != ':')
        return NULL;
    at = flat_read(f, m->row, scan_space(at + 1, end), end, m);
    uint32_t bit = UINT32_C(1) << m->row;
    if (at == NULL || (o->given & bit) != 0)
        return NULL;
    o->given |= bit;
    o->count++;
    return at;
}

static const char *read_object(struct flat *f, const char *at, const char *end, struct flat_object *o) {
    o->count = 0;
    o->given = 0;
    at = scan_space(at + 1, end);
    if (at < end && *at == '}')
        return at + 1;
    for (;;) {
        at = read_member(f, at, end, o);
        if (at == NULL)
            return NULL;
        at = scan_space(at, end);
        if (at < end && *at == '}')
            return at + 1;
        if (at == end || *at != ',')
            return NULL;
        at = scan_space(at + 1, end);
    }
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Makes f->blank fit the members that are given. False if they make no complete form. */
static bool fit_blank(struct flat *f, uint32_t given) {
    if (f->blank.size > 0 && f->given == given)
        return true;
    buf_clear(&f->blank);
    bool good = params_pack_blank(f->table, given, &f->blank) && !f->blank.failed;
    f->given = given;
    if (!good)
        buf_clear(&f->blank);
    return good;
}

/* The row is written field by field: to make it elsewhere and copy it takes several times as long. */
static void write_member(const struct flat *f, const struct flat_member *m, char *packed, size_t offset) {
    struct packed_param *row = (struct packed_param *)(void *)(packed + 16) + m->row;
    row->kind = (uint8_t)f->table->handler->params[m->row].kind;
    row->flags = PACKED_PRESENT | PACKED_GIVEN;
    row->offset = m->packed > 0 ? offset : 0;
    row->size = m->packed > 0 ? m->size : 0;
    row->count = m->count;
    if (m->packed == 0)
        return;
    memset(packed + offset + (m->packed - 1) / ALIGNMENT * ALIGNMENT, 0, ALIGNMENT); /* the NUL and the padding */
    memcpy(packed + offset, m->text, m->size);
}

/* Behind the members, as params_pack does it. */
static void write_fallbacks(const struct flat *f, char *packed, size_t offset) {
    size_t front = params_front_size(f->table), shift = offset - front;
    memcpy(packed + offset, f->blank.data + front, f->blank.size - front);
    struct packed_param *rows = (struct packed_param *)(void *)(packed + 16);
    for (unsigned row = 0; row < f->table->rows; row++)
        if ((f->given >> row & 1) == 0)
            rows[row].offset += rows[row].offset > 0 ? shift : 0;
}

/* A member of HANDLER_WHOLE_PARAMS, as params.c copies it. */
static void write_whole_member(const struct param_spec *spec, const struct flat_member *m, struct buf *to) {
    bool quotes = m->is_text && spec->kind != PARAM_JSON; /* the text of a PARAM_JSON has its quotes */
    buf_putc(to, '"');
    buf_puts(to, spec->name);
    buf_puts(to, quotes ? "\":\"" : "\":");
    if (spec->kind == PARAM_INTEGER)
        params_put_integer(to, m->text, m->size);
    else
        buf_append(to, m->text, m->size);
    if (quotes)
        buf_putc(to, '"');
}

/* False if memory ran out. */
static bool write_whole(const struct flat *f, const struct flat_object *o, struct buf *to) {
    size_t front = to->size;
    params_begin_whole(to);
    buf_putc(to, '{');
    for (unsigned i = 0; i < o->count; i++) {
        if (i > 0)
            buf_putc(to, ',');
        write_whole_member(&f->table->handler->params[o->members[i].row], &o->members[i], to);
    }
    buf_putc(to, '}');
    params_end_whole(to, front);
    return !to->failed;
}

static uint64_t padded(size_t size) {
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

bool flat_pack_object(struct flat *f, const struct flat_object *o, struct buf *to) {
    if (!fit_blank(f, o->given))
        return false;
    if (f->table->whole)
        return write_whole(f, o, to);
    uint64_t front = params_front_size(f->table), offset = front, size = f->blank.size;
    for (unsigned i = 0; i < o->count; i++)
        size += padded(o->members[i].packed);
    char *packed = buf_reserve(to, size);
    if (packed == NULL)
        return false;
    memcpy(packed, f->blank.data, front);
    memcpy(packed + 8, &size, sizeof size);
    for (unsigned i = 0; i < o->count; i++) {
        write_member(f, &o->members[i], packed, offset);
        offset += padded(o->members[i].packed);
    }
    write_fallbacks(f, packed, offset);
    to->size += size;
    return true;
}

const char *flat_pack(struct flat *f, const char *text, const char *end, struct buf *to) {
    struct flat_object o;
    const char *stop = read_object(f, text, end, &o);
    return stop != NULL && flat_pack_object(f, &o, to) ? stop : NULL;
}
