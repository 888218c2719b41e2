/* params_view.c: reads packed parameters (params.h) for the handlers (handler.h). All checks are made once, in
 * params_view, and the functions for handlers rely on them.
 *
 * It runs in workers. */
#include "handlers/host/params.h"

#include "handlers/host/attach_value.h"
#include "handlers/host/host.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/number.h"
#include "handlers/host/numbers.h"

#define MAX_DEPTH 2048 /* beyond all that --max-json-depth allows */

struct reader {
    const struct params_table *table;
    const char *bytes;
    size_t size;
};

/* ---- checks ------------------------------------------------------------------------------------------------------ */

/* Is the value, with its NUL, within the bytes? */
static bool has_text(const struct reader *r, const struct packed_param *p) {
    return p->offset <= r->size && p->size < r->size - p->offset && r->bytes[p->offset + p->size] == '\0';
}

static bool check_integer(const struct reader *r, const struct param_spec *spec, const struct packed_param *p) {
    if (!has_text(r, p) || p->size > HANDLER_MAX_DIGITS + 1)
        return false;
    const char *digits = r->bytes + p->offset;
    if (!number_is_canonical(digits, p->size))
        return false;
    return (spec->min == NULL || number_compare(digits, p->size, spec->min, strlen(spec->min)) >= 0) &&
           (spec->max == NULL || number_compare(digits, p->size, spec->max, strlen(spec->max)) <= 0);
}

static bool check_boolean(const struct reader *r, const struct param_spec *spec, const struct packed_param *p) {
    (void)r, (void)spec;
    return p->count <= 1;
}

static bool check_enum(const struct reader *r, const struct param_spec *spec, const struct packed_param *p) {
    (void)r;
    size_t choices = 0;
    while (spec->choices[choices] != NULL)
        choices++;
    return p->count < choices;
}

static bool check_text(const struct reader *r, const struct param_spec *spec, const struct packed_param *p) {
    (void)spec;
    return has_text(r, p);
}

static bool check_json(const struct reader *r, const struct param_spec *spec, const struct packed_param *p) {
    return has_text(r, p) && p->size > 0 && params_takes_kind(spec, r->bytes[p->offset]);
}

static bool check_bytes(const struct reader *r, const struct param_spec *spec, const struct packed_param *p) {
    (void)r, (void)spec;
    return p->count < UINT32_MAX;
}

static bool is_within(const struct reader *r, const struct packed_param *p) {
    return p->offset <= r->size && p->size <= r->size - p->offset && p->offset % 8 == 0;
}

/* Where text i of a list ends, counted from the first text. */
static uint64_t text_end(const char *ends, size_t width, size_t i) {
    uint32_t narrow;
    uint64_t end;
    if (width == sizeof end) {
        memcpy(&end, ends + i * width, sizeof end);
        return end;
    }
    memcpy(&narrow, ends + i * width, sizeof narrow);
    return narrow;
}

static size_t end_width(const struct packed_param *p) {
    return (p->flags & PACKED_WIDE) != 0 ? sizeof(uint64_t) : sizeof(uint32_t);
}

/* Each end must be greater than the one before it and stand behind a NUL, and the last one must be the end of the
 * value. Token ids are whole. */
static bool check_texts(const struct reader *r, const struct param_spec *spec, const struct packed_param *p) {
    size_t width = end_width(p);
    bool tokens = (p->flags & PACKED_TOKENS) != 0;
    if (!is_within(r, p) || p->count > p->size / width || (tokens && (spec->flags & PARAM_TOKENS) == 0))
        return false;
    const char *ends = r->bytes + p->offset, *texts = ends + p->count * width;
    uint64_t start = 0, room = p->size - p->count * width;
    for (uint64_t i = 0; i < p->count; i++) {
        uint64_t end = text_end(ends, width, i);
        if (end <= start || end > room || texts[end - 1] != '\0')
            return false;
        if (tokens && (end - 1 - start) % sizeof(int32_t) != 0)
            return false;
        start = end;
    }
    return start == room;
}

static void view_numbers(const char *bytes, const struct packed_param *p, struct numbers *out) {
    *out = (struct numbers){.any_real = (p->flags & PACKED_REAL) != 0,
                            .any_large = (p->flags & PACKED_LARGE) != 0,
                            .count = p->count,
                            .packed = {bytes + p->offset, p->size}};
}

static bool check_numbers(const struct reader *r, const struct param_spec *spec, const struct packed_param *p) {
    struct numbers numbers;
    if (!is_within(r, p))
        return false;
    view_numbers(r->bytes, p, &numbers);
    return numbers_check(&numbers, (spec->flags & PARAM_REALS) != 0);
}

static bool check_row(const struct reader *r, unsigned row, const struct packed_param *p) {
    static bool (*const by_kind[])(const struct reader *r, const struct param_spec *spec,
                                   const struct packed_param *p) = {
        [PARAM_INTEGER] = check_integer, [PARAM_BOOLEAN] = check_boolean, [PARAM_ENUM] = check_enum,
        [PARAM_TEXT] = check_text,       [PARAM_TEXTS] = check_texts,     [PARAM_NUMBERS] = check_numbers,
        [PARAM_JSON] = check_json,       [PARAM_BYTES] = check_bytes,
    };
    const struct param_spec *spec = &r->table->handler->params[row];
    if ((p->flags & PACKED_PRESENT) == 0)
        return p->flags == 0;
    return p->kind == spec->kind && by_kind[spec->kind](r, spec, p);
}

/* Is there a form that has all rows with a value, and whose rows have the values that the handler relies on? */
static bool is_whole(const struct params_table *t, const struct packed_param *rows) {
    uint32_t given = 0, present = 0;
    for (unsigned row = 0; row < t->rows; row++) {
        given |= (uint32_t)((rows[row].flags & PACKED_GIVEN) != 0) << row;
        present |= (uint32_t)((rows[row].flags & PACKED_PRESENT) != 0) << row;
    }
    for (unsigned form = 0; form < t->form_count; form++)
        if ((present & ~t->form_rows[form]) == 0 && (t->form_required[form] & ~given) == 0 &&
            (t->form_present[form] & ~present) == 0)
            return true;
    return false;
}

static int report_damage(const struct params_table *t, struct fault *fault) {
    return fault_set(fault, "handler_failed", "the packed parameters of %s are damaged", t->handler->name);
}

/* Of a job that was checked before a reload, or by an earlier process. */
static int report_other_table(const struct params_table *t, struct fault *fault) {
    return fault_set(fault, "handler_failed",
                     "the parameters of %s have changed since this job was submitted; submit it again",
                     t->handler->name);
}

/* The text goes on to a program, in a frame whose JSON it must not break. */
static int view_whole(const struct reader *r, struct params *p, struct fault *fault) {
    struct fault bad = {{0}};
    uint64_t text;
    memcpy(&text, r->bytes + 16, sizeof text);
    p->rows = NULL;
    bool good = text < r->size - PARAMS_WHOLE_FRONT && r->bytes[PARAMS_WHOLE_FRONT + text] == '\0' &&
                r->bytes[PARAMS_WHOLE_FRONT] == '{' &&
                jsontext_check(r->bytes + PARAMS_WHOLE_FRONT, (size_t)text, MAX_DEPTH, &bad) == 0;
    fault_deinit(&bad);
    return good ? 0 : report_damage(r->table, fault);
}

int params_view(const struct params_table *t, const void *bytes, size_t size, struct params *p, struct fault *fault) {
    struct reader r = {.table = t, .bytes = bytes, .size = size};
    uint32_t head[2] = {0, 0};
    uint64_t all = 0;
    *p = (struct params){.table = t, .bytes = bytes};
    if (size < PARAMS_WHOLE_FRONT - 8 || (uintptr_t)bytes % 8 != 0)
        return report_damage(t, fault);
    memcpy(head, r.bytes, sizeof head);
    memcpy(&all, r.bytes + 8, sizeof all);
    if ((head[0] != PARAMS_MAGIC && head[0] != PARAMS_WHOLE_MAGIC) || all != size)
        return report_damage(t, fault);
    if ((head[0] == PARAMS_WHOLE_MAGIC) != t->whole || (!t->whole && head[1] != t->print))
        return report_other_table(t, fault);
    if (t->whole)
        return size > PARAMS_WHOLE_FRONT ? view_whole(&r, p, fault) : report_damage(t, fault);
    bool good = size >= params_front_size(t);
    p->rows = good ? (const void *)(r.bytes + 16) : NULL;
    for (unsigned row = 0; good && row < t->rows; row++)
        good = check_row(&r, row, &p->rows[row]);
    return good && is_whole(t, p->rows) ? 0 : report_damage(t, fault);
}

void params_view_own(const struct params_table *t, const void *bytes, struct params *p) {
    *p =
        (struct params){.table = t, .bytes = bytes, .rows = t->whole ? NULL : (const void *)((const char *)bytes + 16)};
}

/* ---- handler.h: parameters --------------------------------------------------------------------------------------- */

/* Are the names equal? They have a few bytes only, so a call of strcmp would take longer than the comparison. */
static bool is_name(const char *a, const char *b) {
    while (*a == *b && *a != '\0') {
        a++;
        b++;
    }
    return *a == *b;
}

/* It is not inlined, so that the quick part is. */
static __attribute__((noinline)) int find_row_by_text(const struct params *p, const char *name) {
    for (unsigned row = 0; row < p->table->rows; row++)
        if (is_name(p->table->handler->params[row].name, name))
            return (int)row;
    return -1;
}

/* The row of that name, or -1. A handler writes each name twice, in its table and where it reads the parameter, and the
 * linker keeps one copy of equal strings. So most often the two are at the same address. */
static inline int find_row(const struct params *p, const char *name) {
    const struct param_spec *specs = p->table->handler->params;
    for (unsigned row = 0; row < p->table->rows; row++)
        if (specs[row].name == name)
            return (int)row;
    return find_row_by_text(p, name);
}

/* The value of a parameter, or NULL if it has none or is of another kind. */
static inline const struct packed_param *find(const struct params *p, const char *name, enum param_kind kind) {
    int row = find_row(p, name);
    if (row < 0 || p->rows == NULL || p->table->handler->params[row].kind != kind ||
        (p->rows[row].flags & PACKED_PRESENT) == 0)
        return NULL;
    return &p->rows[row];
}

static inline const char *find_text(const struct params *p, const char *name, enum param_kind kind, size_t *size) {
    const struct packed_param *found = find(p, name, kind);
    *size = found != NULL ? found->size : 0;
    return found != NULL ? p->bytes + found->offset : NULL;
}

bool param_given(const struct params *p, const char *name) {
    int row = find_row(p, name);
    return row >= 0 && p->rows != NULL && (p->rows[row].flags & PACKED_GIVEN) != 0;
}

bool param_i64(const struct params *p, const char *name, int64_t *value) {
    size_t size;
    const char *digits = find_text(p, name, PARAM_INTEGER, &size);
    return digits != NULL && number_to_i64(digits, size, value);
}

bool param_u64(const struct params *p, const char *name, uint64_t *value) {
    size_t size;
    const char *digits = find_text(p, name, PARAM_INTEGER, &size);
    return digits != NULL && number_to_u64(digits, size, value);
}

const char *param_digits(const struct params *p, const char *name) {
    size_t size;
    return find_text(p, name, PARAM_INTEGER, &size);
}

bool param_bool(const struct params *p, const char *name) {
    const struct packed_param *found = find(p, name, PARAM_BOOLEAN);
    return found != NULL && found->count != 0;
}

int param_choice(const struct params *p, const char *name) {
    const struct packed_param *found = find(p, name, PARAM_ENUM);
    return found != NULL ? (int)found->count : -1;
}

const char *param_text(const struct params *p, const char *name, size_t *size) {
    return find_text(p, name, PARAM_TEXT, size);
}

size_t param_texts(const struct params *p, const char *name) {
    const struct packed_param *found = find(p, name, PARAM_TEXTS);
    return found != NULL ? found->count : 0;
}

bool param_is_list(const struct params *p, const char *name) {
    const struct packed_param *found = find(p, name, PARAM_TEXTS);
    return found != NULL && (found->flags & PACKED_LIST) != 0;
}

bool param_is_tokens(const struct params *p, const char *name) {
    const struct packed_param *found = find(p, name, PARAM_TEXTS);
    return found != NULL && (found->flags & PACKED_TOKENS) != 0;
}

const char *param_text_at(const struct params *p, const char *name, size_t i, size_t *size) {
    const struct packed_param *found = find(p, name, PARAM_TEXTS);
    *size = 0;
    if (found == NULL || i >= found->count)
        return NULL;
    const char *ends = p->bytes + found->offset;
    size_t width = end_width(found);
    uint64_t start = i > 0 ? text_end(ends, width, i - 1) : 0;
    *size = text_end(ends, width, i) - start - 1;
    return ends + found->count * width + start;
}

const char *param_json(const struct params *p, const char *name, size_t *size) {
    return find_text(p, name, PARAM_JSON, size);
}

const char *params_json(const struct params *p, size_t *size) {
    uint64_t text = 0;
    if (p->rows == NULL)
        memcpy(&text, p->bytes + 16, sizeof text);
    *size = (size_t)text;
    return p->rows == NULL ? p->bytes + PARAMS_WHOLE_FRONT : NULL;
}

/* The value of a member of the text of HANDLER_WHOLE_PARAMS, which was checked. */
static bool find_member(const struct params *p, const char *wanted, struct json_span *value) {
    char text[JSONTEXT_NAME_ROOM];
    struct json_span name;
    size_t size;
    const char *next = params_json(p, &size) + 1, *end = next - 1 + size;
    while (scan_next_member(&next, end, &name, value)) {
        scan_string(&name, text, sizeof text);
        if (strcmp(text, wanted) == 0)
            return true;
    }
    return false;
}

bool params_attachment(const struct params *p, unsigned row, uint32_t *number) {
    struct json_span value;
    if (p->table->handler->params[row].kind != PARAM_BYTES)
        return false;
    if (p->rows == NULL)
        return find_member(p, p->table->handler->params[row].name, &value) && attach_read(&value, number) == NULL;
    *number = (uint32_t)p->rows[row].count;
    return (p->rows[row].flags & PACKED_PRESENT) != 0;
}

bool param_attachment(const struct params *p, const char *name, struct attachment *out) {
    uint32_t number;
    int row = find_row(p, name);
    if (row < 0 || !params_attachment(p, (unsigned)row, &number))
        return false;
    const struct host_attachment *a = host_attachment(p->attachments, number);
    if (a == NULL) /* which the plan has checked */
        return false;
    *out = (struct attachment){number, a->size, a->media_type};
    return true;
}

bool param_numbers(const struct params *p, const char *name, struct numbers *out) {
    const struct packed_param *found = find(p, name, PARAM_NUMBERS);
    memset(out, 0, sizeof *out);
    if (found == NULL)
        return false;
    view_numbers(p->bytes, found, out);
    return true;
}
