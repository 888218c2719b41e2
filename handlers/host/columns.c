/* columns.c: see columns.h. The calls are read element by element, without a tree and without memory for each: a plain
 * value is packed straight from the list (params_flat.h). For the others the object is written that the same call would
 * be in a list of items; so it is read in the same way, and means the same.
 *
 * It runs in the front end for small submissions, and in workers for large ones. */
#include "handlers/host/columns.h"

#include <stdlib.h>

#include "base/array.h"
#include "handlers/host/items_format.h"
#include "handlers/host/jsontext.h"

/* ---- in a submission --------------------------------------------------------------------------------------------- */

/* Reads the value of a column. Returns its end. */
static const char *read_column(struct column *c, const char *at, const char *end) {
    struct json_span element;
    c->value.at = at;
    c->is_list = *at == '[';
    if (!c->is_list)
        return scan_whole_value(at, end);
    for (at++; scan_next_element(&at, end, &element);)
        c->count++;
    return at;
}

const char *columns_read(struct columns *c, const char *at, const char *end) {
    struct json_span name;
    c->span.at = at;
    if (*at != '{')
        return c->span.end = scan_whole_value(at, end);
    for (at++; scan_next_name(&at, end, &name);) {
        struct column column = {.name = name};
        at = column.value.end = read_column(&column, at, end);
        c->failed = c->failed || GROW_ARRAY(&c->all, c->count, &c->room) != 0;
        if (!c->failed)
            c->all[c->count++] = column;
    }
    return c->span.end = at;
}

void columns_deinit(struct columns *c) {
    free(c->all);
    memset(c, 0, sizeof *c);
}

static size_t count_of_length(const struct columns *c, size_t length) {
    size_t found = 0;
    for (size_t i = 0; i < c->count; i++)
        found += c->all[i].is_list && c->all[i].count == length;
    return found;
}

/* A list of the length that most lists have (Boyer and Moore's vote), or else the first list. NULL: there is none. */
static const struct column *find_usual_list(const struct columns *c) {
    const struct column *first = NULL, *usual = NULL;
    size_t lists = 0, votes = 0;
    for (size_t i = 0; i < c->count; i++) {
        const struct column *column = &c->all[i];
        if (!column->is_list)
            continue;
        first = first == NULL ? column : first;
        usual = votes == 0 ? column : usual;
        votes += column->count == usual->count ? 1 : (size_t)-1;
        lists++;
    }
    return usual != NULL && 2 * count_of_length(c, usual->count) > lists ? usual : first;
}

static void report_odd_lists(const struct columns *c, const struct column *usual, struct faults *faults) {
    char text[JSONTEXT_NAME_ROOM], other[JSONTEXT_NAME_ROOM];
    scan_string(&usual->name, other, sizeof other);
    for (size_t i = 0; i < c->count && !faults_full(faults); i++) {
        const struct place at = {.up = &columns_place, .name = text};
        if (!c->all[i].is_list || c->all[i].count == usual->count)
            continue;
        scan_string(&c->all[i].name, text, sizeof text);
        faults_add(faults, &at, "is a list of %zu, but \"%.60s\" is one of %zu; all lists must have one length",
                   c->all[i].count, other, usual->count);
    }
}

/* Checks all but the values of the lists. Returns a list, whose length is the number of calls, or NULL. */
static const struct column *check(const struct columns *c, const struct params_table *t, struct faults *faults) {
    if (c->failed) {
        faults_add_no_memory(faults, &columns_place);
        return NULL;
    }
    if (*c->span.at != '{') {
        json_t *value = jsontext_shallow(&c->span);
        faults_add(faults, &columns_place, "must be an object of lists, not %s",
                   value == NULL ? "this" : jsontext_kind(value));
        json_decref(value);
        return NULL;
    }
    params_check_columns(t, c->all, c->count, &columns_place, faults);
    const struct column *usual = find_usual_list(c);
    if (usual == NULL) {
        faults_add(faults, &columns_place, "needs a list: with none there is one call, for which there is params");
        return NULL;
    }
    report_odd_lists(c, usual, faults);
    if (usual->count > HOST_MAX_ITEMS)
        faults_add(faults, &columns_place, "makes %zu calls; a job has at most %d", usual->count, HOST_MAX_ITEMS);
    return usual;
}

uint32_t columns_pack(const struct columns *c, const struct params_table *t, struct buf *packed,
                      struct faults *faults) {
    size_t before = faults->count;
    const struct column *usual = check(c, t, faults);
    if (faults->count > before)
        return 0;
    size_t table = c->count * sizeof(struct packed_column), text = (size_t)(c->span.end - c->span.at);
    struct items_head head = {COLUMNS_MAGIC, (uint32_t)usual->count, sizeof head + sizeof(uint64_t) + table + text};
    uint64_t count = c->count;
    buf_reserve(packed, (size_t)head.size);
    buf_append(packed, &head, sizeof head);
    buf_append(packed, &count, sizeof count);
    for (size_t i = 0; i < c->count; i++) {
        const struct column *column = &c->all[i];
        struct packed_column row = {.name = (uint64_t)(column->name.at - c->span.at),
                                    .name_end = (uint64_t)(column->name.end - c->span.at),
                                    .value = (uint64_t)(column->value.at - c->span.at),
                                    .value_end = (uint64_t)(column->value.end - c->span.at)};
        buf_append(packed, &row, sizeof row);
    }
    buf_append(packed, c->span.at, text);
    return head.count;
}

/* ---- in a plan --------------------------------------------------------------------------------------------------- */

static bool is_name(const struct json_span *text) {
    struct fault ignored = {{0}};
    bool good = *text->at == '"' && jsontext_check(text->at, (size_t)(text->end - text->at), 1, &ignored) == 0;
    fault_deinit(&ignored);
    return good;
}

/* Reads a row of the table into *c. False if it is damaged. Values that are damaged are found later. */
static bool open_column(const struct packed_column *row, const char *text, size_t size, struct column_cursor *c) {
    if (row->name_end > size || row->value_end > size || row->name >= row->name_end || row->value >= row->value_end)
        return false;
    c->name = (struct json_span){text + row->name, text + row->name_end};
    c->value = (struct json_span){text + row->value, text + row->value_end};
    c->is_list = *c->value.at == '[';
    c->next = c->value.at + 1;
    c->end = c->value.end;
    return is_name(&c->name) && (!c->is_list || (c->next < c->end && c->end[-1] == ']'));
}

/* Finds the row of a column, and gives it its place in the plain object. */
static void find_member(struct column_reader *r, struct column_cursor *c, const char *end) {
    struct flat_object *o = &r->object;
    c->row = params_find_row(r->table, &c->name);
    if (c->row == r->table->rows || (o->given >> c->row & 1) != 0) {
        r->is_plain = false;
        return;
    }
    c->member = o->count++;
    o->given |= UINT32_C(1) << c->row;
    r->lists |= c->is_list ? UINT32_C(1) << c->row : 0;
    if (c->is_list || !r->is_plain)
        return;
    const char *stop = flat_read(&r->flat, c->row, c->value.at, end, &o->members[c->member]);
    r->is_plain = stop == c->value.end;
}

int columns_open(struct column_reader *r, const struct params_table *t, const char *packed, size_t size,
                 struct fault *fault) {
    uint64_t count = 0;
    const size_t front = sizeof(struct items_head) + sizeof count;
    memset(r, 0, sizeof *r);
    r->table = t;
    flat_init(&r->flat, t);
    if (size >= front)
        memcpy(&count, packed + sizeof(struct items_head), sizeof count);
    if (count == 0 || count > (size - front) / sizeof(struct packed_column))
        return items_report_damage(fault, "columns");
    r->columns = calloc(count, sizeof *r->columns);
    if (r->columns == NULL)
        return fault_set(fault, "memory_limit", "there is no memory for the columns");
    r->count = count;
    r->is_plain = true;
    const char *text = packed + front + count * sizeof(struct packed_column);
    for (size_t i = 0; i < count; i++) {
        struct packed_column row;
        memcpy(&row, packed + front + i * sizeof row, sizeof row);
        if (!open_column(&row, text, (size_t)(packed + size - text), &r->columns[i]))
            return items_report_damage(fault, "columns");
        find_member(r, &r->columns[i], packed + size);
    }
    return 0;
}

void columns_close(struct column_reader *r) {
    flat_deinit(&r->flat);
    free(r->columns);
    memset(r, 0, sizeof *r);
}

/* Where the next element of a list begins. NULL: the list is damaged. */
static const char *begin_element(const struct column_cursor *c) {
    const char *at = scan_space(c->next, c->end);
    return at < c->end - 1 ? at : NULL;
}

/* Passes over what must stand behind an element. False: the list is damaged, or the value was not plain. */
static bool end_element(struct column_cursor *c, const char *at, bool last) {
    at = scan_space(at, c->end);
    c->behind = at + 1;
    return last ? at == c->end - 1 : at < c->end && *at == ',';
}

/* Reads the next element of each list. False: one of them is not plain, or not right, or damaged. */
static bool read_plain(struct column_reader *r, bool last) {
    for (size_t i = 0; i < r->count; i++) {
        struct column_cursor *c = &r->columns[i];
        if (!c->is_list)
            continue;
        const char *at = begin_element(c);
        at = at == NULL ? NULL : flat_read(&r->flat, c->row, at, c->end, &r->object.members[c->member]);
        if (at == NULL || !end_element(c, at, last))
            return false;
    }
    return true;
}

/* Finds the next element of each list, and writes the call as an object. False: a list is damaged. */
static bool write_object(struct column_reader *r, bool last, struct buf *text) {
    for (size_t i = 0; i < r->count; i++) {
        struct column_cursor *c = &r->columns[i];
        if (c->is_list) {
            c->value.at = begin_element(c);
            c->value.end = c->value.at == NULL ? NULL : scan_whole_value(c->value.at, c->end - 1);
            if (c->value.end == NULL || !end_element(c, c->value.end, last))
                return false;
        }
        buf_putc(text, i == 0 ? '{' : ',');
        buf_append(text, c->name.at, (size_t)(c->name.end - c->name.at));
        buf_putc(text, ':');
        buf_append(text, c->value.at, (size_t)(c->value.end - c->value.at));
    }
    buf_putc(text, '}');
    return true;
}

enum columns_call columns_next(struct column_reader *r, bool last, struct buf *params, struct buf *text) {
    bool packed = r->is_plain && read_plain(r, last) && flat_pack_object(&r->flat, &r->object, params);
    if (!packed && !write_object(r, last, text))
        return COLUMNS_DAMAGED;
    for (size_t i = 0; i < r->count; i++)
        r->columns[i].next = r->columns[i].behind;
    return packed ? COLUMNS_PACKED : COLUMNS_TEXT;
}
