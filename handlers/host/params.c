/* params.c: packs parameters (params.h). Each member of the object is found in the table, checked by the function of
 * its kind, and appended. Then the form is chosen, and the same functions pack the fallbacks. params_view.c reads the
 * packed form.
 *
 * It runs in the front end for small submissions, and in workers for large ones. */
#include "handlers/host/params.h"

#include <stdio.h>
#include <stdlib.h>

#include "handlers/host/jsontext.h"
#include "handlers/host/number.h"
#include "handlers/host/numbers.h"

/* One call of params_pack. */
struct packer {
    const struct params_table *table;
    struct buf *to;
    struct faults *faults;
    const struct place *at;
    unsigned candidates; /* the forms that all members so far belong to, as a mask */
    bool conflict;       /* some member belongs to no form of those before it */
    bool given[PARAMS_MAX];
};

/* ---- the table --------------------------------------------------------------------------------------------------- */

static void reject_table(const struct handler *h, const char *row, const char *why) {
    fprintf(stderr, "handler %s: %s: %s\n", h->name, row, why);
    abort();
}

void params_table_init(struct params_table *t, const struct handler *handler) {
    memset(t, 0, sizeof *t);
    t->handler = handler;
    t->form_count = handler->forms == NULL ? 1 : 0;
    while (handler->forms != NULL && handler->forms[t->form_count] != NULL)
        t->form_count++;
    if (t->form_count == 0 || t->form_count > 31)
        reject_table(handler, "forms", "there must be 1 to 31");
    for (const struct param_spec *p = handler->params; p != NULL && p->name != NULL; p++) {
        if (t->rows == PARAMS_MAX)
            reject_table(handler, p->name, "too many parameters");
        if ((p->forms >> t->form_count) != 0)
            reject_table(handler, p->name, "belongs to a form that is not named");
        if (p->kind == PARAM_ENUM && (p->choices == NULL || p->choices[0] == NULL))
            reject_table(handler, p->name, "has no choices");
        struct fault fault = {0};
        if (p->fallback != NULL && jsontext_check(p->fallback, strlen(p->fallback), 16, &fault) != 0)
            reject_table(handler, p->name, fault.json.data);
        for (unsigned form = 0; form < t->form_count; form++) {
            uint32_t bit = p->forms == 0 || (p->forms >> form & 1) != 0 ? UINT32_C(1) << t->rows : 0;
            t->form_rows[form] |= bit;
            t->form_required[form] |= (p->flags & PARAM_REQUIRED) != 0 ? bit : 0;
            t->form_present[form] |= p->fallback != NULL ? bit : 0;
        }
        t->rows++;
    }
}

unsigned params_row_forms(const struct params_table *t, unsigned row) {
    unsigned forms = t->handler->params[row].forms;
    return forms != 0 ? forms : (1u << t->form_count) - 1;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static void align_value(struct buf *to) {
    static const char zeros[8];
    buf_append(to, zeros, -to->size & 7);
}

/* Fills in the row of the value that was appended from `offset` on, and returns it; NULL if memory ran out. */
static struct packed_param *set_row(struct packer *k, unsigned row, size_t offset, size_t size, uint64_t count) {
    if (k->to->failed)
        return NULL;
    struct packed_param *p = (struct packed_param *)(void *)(k->to->data + 16) + row;
    p->kind = (uint8_t)k->table->handler->params[row].kind;
    p->flags = (uint8_t)(PACKED_PRESENT | (k->given[row] ? PACKED_GIVEN : 0));
    p->offset = offset;
    p->size = size;
    p->count = count;
    return p;
}

static void set_text(struct packer *k, unsigned row, const char *text, size_t size) {
    align_value(k->to);
    size_t offset = k->to->size;
    buf_append(k->to, text, size);
    buf_putc(k->to, '\0');
    set_row(k, row, offset, size, 1);
}

static enum number_error to_integer(const json_t *value, struct integer *out) {
    const char *text;
    size_t size;
    if (jsontext_number(value, &text, &size))
        return number_to_integer(text, size, out);
    if (json_is_string(value)) { /* decimal digits only: "1e3" is no integer, but the number 1e3 is one */
        text = json_string_value(value);
        size = json_string_length(value);
        for (size_t i = 0; i < size; i++)
            if ((text[i] < '0' || text[i] > '9') && (i > 0 || text[i] != '-'))
                return NUMBER_NOT_ONE;
        return number_to_integer(text, size, out);
    }
    if (json_is_integer(value)) {
        number_from_i64(json_integer_value(value), out);
        return NUMBER_OK;
    }
    if (!json_is_real(value))
        return NUMBER_NOT_ONE;
    /* jsontext only leaves a real if its double is an integer exactly when the text is one. Then it is a small one. */
    double real = json_real_value(value);
    if (!(real > -9e15 && real < 9e15) || real != (double)(int64_t)real)
        return NUMBER_FRACTION;
    number_from_i64((int64_t)real, out);
    return NUMBER_OK;
}

bool params_read_integer(const json_t *value, const char *min, const char *max, const struct place *at,
                         struct integer *out, struct faults *faults) {
    enum number_error error = to_integer(value, out);
    if (error == NUMBER_OK && (min == NULL || number_compare(out->digits, out->size, min, strlen(min)) >= 0) &&
        (max == NULL || number_compare(out->digits, out->size, max, strlen(max)) <= 0))
        return true;
    bool is_integer = error == NUMBER_OK || error == NUMBER_TOO_LONG;
    if (is_integer && min != NULL && max != NULL)
        faults_add(faults, at, "must be from %s to %s", min, max);
    else if (is_integer && min != NULL)
        faults_add(faults, at, "must be at least %s", min);
    else if (is_integer && max != NULL)
        faults_add(faults, at, "must be at most %s", max);
    else if (error == NUMBER_TOO_LONG)
        faults_add(faults, at, "has more than %d digits", HANDLER_MAX_DIGITS);
    else if (error == NUMBER_FRACTION)
        faults_add(faults, at, "must be an integer, without a fraction");
    else if (jsontext_is_text(value))
        faults_add(faults, at, "must be an integer: as a string, decimal digits only");
    else
        faults_add(faults, at, "must be an integer, not %s", jsontext_kind(value));
    return false;
}

static void pack_integer(struct packer *k, unsigned row, const json_t *value, const struct place *at) {
    const struct param_spec *spec = &k->table->handler->params[row];
    struct integer integer;
    if (params_read_integer(value, spec->min, spec->max, at, &integer, k->faults))
        set_text(k, row, integer.digits, integer.size);
}

static void pack_boolean(struct packer *k, unsigned row, const json_t *value, const struct place *at) {
    if (json_is_boolean(value))
        set_row(k, row, 0, 0, json_is_true(value));
    else
        faults_add(k->faults, at, "must be true or false, not %s", jsontext_kind(value));
}

static void pack_enum(struct packer *k, unsigned row, const json_t *value, const struct place *at) {
    const struct param_spec *spec = &k->table->handler->params[row];
    for (size_t i = 0; json_is_string(value) && spec->choices[i] != NULL; i++) {
        size_t size = strlen(spec->choices[i]);
        if (size == json_string_length(value) && memcmp(json_string_value(value), spec->choices[i], size) == 0) {
            set_row(k, row, 0, 0, i);
            return;
        }
    }
    struct buf list = {0};
    for (size_t i = 0; spec->choices[i] != NULL; i++)
        buf_printf(&list, "%s\"%s\"", i > 0 ? ", " : "", spec->choices[i]);
    faults_add(k->faults, at, "must be one of %s", list.failed ? "its choices" : list.data);
    buf_deinit(&list);
}

static void pack_text(struct packer *k, unsigned row, const json_t *value, const struct place *at) {
    if (jsontext_is_text(value))
        set_text(k, row, json_string_value(value), json_string_length(value));
    else
        faults_add(k->faults, at, "must be a string, not %s", jsontext_kind(value));
}

/* Packs a value that is not a list. */
static void pack_single(struct packer *k, unsigned row, const struct json_span *value, const struct place *at) {
    static void (*const by_kind[])(struct packer * k, unsigned row, const json_t *value,
                                   const struct place *at) = {[PARAM_INTEGER] = pack_integer,
                                                              [PARAM_BOOLEAN] = pack_boolean,
                                                              [PARAM_ENUM] = pack_enum,
                                                              [PARAM_TEXT] = pack_text};
    enum param_kind kind = k->table->handler->params[row].kind;
    if (kind == PARAM_TEXT && jsontext_is_verbatim(value)) { /* it can be long, so it is copied only once */
        set_text(k, row, value->at + 1, (size_t)(value->end - value->at) - 2);
        return;
    }
    json_t *v = jsontext_shallow(value);
    if (v != NULL)
        by_kind[kind](k, row, v, at);
    k->to->failed |= v == NULL;
    json_decref(v);
}

static void pack_json(struct packer *k, unsigned row, const struct json_span *value, const struct place *at) {
    align_value(k->to);
    size_t offset = k->to->size;
    jsontext_copy(k->to, value, at, k->faults);
    size_t size = k->to->size - offset;
    buf_putc(k->to, '\0');
    set_row(k, row, offset, size, 1);
}

/* "must be ..., not an integer" */
static void report_kind(struct packer *k, const struct json_span *value, const struct place *at, const char *what) {
    json_t *v = jsontext_shallow(value);
    if (v != NULL)
        faults_add(k->faults, at, "must be %s, not %s", what, jsontext_kind(v));
    k->to->failed |= v == NULL;
    json_decref(v);
}

static size_t count_elements(const struct json_span *array) {
    struct json_span element;
    size_t count = 0;
    for (const char *at = array->at + 1; scan_next_element(&at, array->end, &element);)
        count++;
    return count;
}

/* ---- lists of texts ---------------------------------------------------------------------------------------------- */

/* A list of texts under way. The ends stand before the texts, and each is set when its text is appended. */
struct text_list {
    struct buf *to;
    size_t offset, texts; /* where the ends start, and where the texts start */
    size_t width;         /* of an end: 4 or 8 bytes */
    size_t done;
};

/* limit: what the texts with their NULs take at most. */
static struct text_list begin_texts(struct buf *to, size_t count, size_t limit) {
    align_value(to);
    struct text_list list = {.to = to, .offset = to->size, .width = limit <= UINT32_MAX ? 4 : 8};
    char *ends = buf_reserve(to, count * list.width);
    if (ends != NULL) {
        memset(ends, 0, count * list.width + 1);
        to->size += count * list.width;
    }
    list.texts = to->size;
    return list;
}

static void add_text(struct text_list *list, const char *text, size_t size) {
    buf_append(list->to, text, size);
    buf_putc(list->to, '\0');
    if (list->to->failed)
        return;
    uint64_t end = list->to->size - list->texts;
    uint32_t narrow = (uint32_t)end;
    char *at = list->to->data + list->offset + list->done * list->width;
    memcpy(at, list->width == sizeof narrow ? (const void *)&narrow : &end, list->width);
    list->done++;
}

/* Adds a text of a list, or of a single one. */
static void pack_one_text(struct packer *k, struct text_list *list, const struct json_span *value,
                          const struct place *at) {
    if (jsontext_is_verbatim(value)) {
        add_text(list, value->at + 1, (size_t)(value->end - value->at) - 2);
        return;
    }
    if (*value->at != '"') {
        report_kind(k, value, at, "a string");
        return;
    }
    json_t *v = jsontext_shallow(value);
    if (v != NULL)
        add_text(list, json_string_value(v), json_string_length(v));
    k->to->failed |= v == NULL;
    json_decref(v);
}

static void pack_texts(struct packer *k, unsigned row, const struct json_span *value, const struct place *at) {
    bool is_list = *value->at == '[';
    if (!is_list && *value->at != '"') {
        report_kind(k, value, at, "a string or an array of strings");
        return;
    }
    size_t count = is_list ? count_elements(value) : 1;
    /* A text has two quotes, which take more room than a NUL. */
    struct text_list list = begin_texts(k->to, count, (size_t)(value->end - value->at));
    struct place element = {.up = at};
    struct json_span text;
    const char *next = value->at + 1;
    if (!is_list)
        pack_one_text(k, &list, value, at);
    for (; is_list && !faults_full(k->faults) && scan_next_element(&next, value->end, &text); element.index++)
        pack_one_text(k, &list, &text, &element);
    struct packed_param *packed = set_row(k, row, list.offset, k->to->size - list.offset, count);
    if (packed != NULL)
        packed->flags = (uint8_t)(packed->flags | (is_list ? PACKED_LIST : 0) | (list.width == 8 ? PACKED_WIDE : 0));
}

/* ---- lists of numbers -------------------------------------------------------------------------------------------- */

/* What an array of numbers holds. */
struct survey {
    bool any_real;  /* some number is written as a real, whether reals are allowed or not */
    bool any_large; /* some integer is beyond 64 bits */
};

static bool takes_reals(const struct packer *k, unsigned row) {
    return (k->table->handler->params[row].flags & PARAM_REALS) != 0;
}

/* Packs a number that jansson reads: the quick ways do not know it, or it is none. */
static void pack_number_slowly(struct packer *k, unsigned row, const struct json_span *text, const struct place *at,
                               struct survey *s) {
    struct integer integer;
    double real;
    int64_t small;
    json_t *value = jsontext_shallow(text);
    bool is_real = value != NULL && jsontext_is_real(value);
    s->any_real |= is_real;
    k->to->failed |= value == NULL;
    if (is_real && takes_reals(k, row)) {
        if (jsontext_real(value, &real))
            numbers_put_real(k->to, real, text->at, (size_t)(text->end - text->at));
        else
            faults_add(k->faults, at, "is beyond the range of a 64-bit floating-point number");
    } else if (value != NULL && params_read_integer(value, NULL, NULL, at, &integer, k->faults)) {
        numbers_put_integer(k->to, &integer);
        s->any_large |= !number_to_i64(integer.digits, integer.size, &small);
    }
    json_decref(value);
}

static void pack_number(struct packer *k, unsigned row, const struct json_span *text, const struct place *at,
                        struct survey *s) {
    int64_t small = 0;
    size_t quote = *text->at == '"';
    const char *first = text->at + quote, *last = text->end - quote;
    if (first < last && scan_plain_integer(first, last, 18) == last) {
        (void)number_to_i64(first, (size_t)(last - first), &small);
        numbers_put_i64(k->to, small);
    } else if (quote == 0 && takes_reals(k, row) && numbers_put_short_real(k->to, first, (size_t)(last - first))) {
        s->any_real = true;
    } else {
        pack_number_slowly(k, row, text, at, s);
    }
}

static void pack_numbers(struct packer *k, unsigned row, const struct json_span *array, const struct place *at) {
    if (*array->at != '[') {
        report_kind(k, array, at, "an array of numbers");
        return;
    }
    struct survey survey = {0};
    struct place element = {.up = at};
    struct json_span text;
    align_value(k->to);
    size_t offset = k->to->size;
    for (const char *next = array->at + 1;
         !faults_full(k->faults) && !k->to->failed && scan_next_element(&next, array->end, &text); element.index++)
        pack_number(k, row, &text, &element, &survey);
    struct packed_param *packed = set_row(k, row, offset, k->to->size - offset, element.index);
    if (packed != NULL)
        packed->flags =
            (uint8_t)(packed->flags | (survey.any_real ? PACKED_REAL : 0) | (survey.any_large ? PACKED_LARGE : 0));
}

/* ---- the object -------------------------------------------------------------------------------------------------- */

static void pack_value(struct packer *k, unsigned row, const struct json_span *value, const struct place *at) {
    switch (k->table->handler->params[row].kind) {
    case PARAM_TEXTS: pack_texts(k, row, value, at); break;
    case PARAM_NUMBERS: pack_numbers(k, row, value, at); break;
    case PARAM_JSON: pack_json(k, row, value, at); break;
    default: pack_single(k, row, value, at);
    }
}

static void report_unknown(struct packer *k, const char *name, const struct place *at) {
    struct buf known = {0};
    for (unsigned row = 0; row < k->table->rows; row++)
        buf_printf(&known, "%s%s", row > 0 ? ", " : "", k->table->handler->params[row].name);
    faults_add(k->faults, at, "\"%.60s\" is not a parameter of %s; %s%s", name, k->table->handler->name,
               known.size > 0 ? "it has " : "it has none", known.size > 0 ? known.data : "");
    buf_deinit(&known);
}

/* Names the members before `row` that have no form in common with it. */
static void report_conflict(struct packer *k, unsigned row, const struct place *at) {
    struct buf others = {0};
    for (unsigned other = 0; other < k->table->rows; other++)
        if (other != row && k->given[other] &&
            (params_row_forms(k->table, other) & params_row_forms(k->table, row)) == 0)
            buf_printf(&others, "%s%s", others.size > 0 ? ", " : "", k->table->handler->params[other].name);
    faults_add(k->faults, at, "cannot be combined with %s", others.size > 0 ? others.data : "the others");
    buf_deinit(&others);
    k->conflict = true;
}

static void pack_member(struct packer *k, const char *name, const struct json_span *value) {
    struct place at = {.up = k->at, .name = name};
    unsigned row = 0;
    while (row < k->table->rows && strcmp(k->table->handler->params[row].name, name) != 0)
        row++;
    if (row == k->table->rows) {
        report_unknown(k, name, &at);
        return;
    }
    k->given[row] = true;
    unsigned forms = params_row_forms(k->table, row);
    if ((k->candidates & forms) == 0)
        report_conflict(k, row, &at);
    else
        k->candidates &= forms;
    pack_value(k, row, value, &at);
}

static bool needs(const struct packer *k, unsigned form, unsigned row) {
    return (k->table->handler->params[row].flags & PARAM_REQUIRED) != 0 &&
           (params_row_forms(k->table, row) >> form & 1) != 0;
}

static bool has_all(const struct packer *k, unsigned form) {
    for (unsigned row = 0; row < k->table->rows; row++)
        if (needs(k, form, row) && !k->given[row])
            return false;
    return true;
}

/* "needs start, stop; or numbers; or nth" */
static void report_all_forms(struct packer *k) {
    struct buf text = {0};
    for (unsigned form = 0; form < k->table->form_count; form++) {
        if ((k->candidates >> form & 1) == 0)
            continue;
        const char *before = text.size > 0 ? "; or " : "";
        for (unsigned row = 0; row < k->table->rows; row++) {
            if (!needs(k, form, row))
                continue;
            buf_printf(&text, "%s%s", before, k->table->handler->params[row].name);
            before = ", ";
        }
    }
    faults_add(k->faults, k->at, "needs %s", text.size > 0 ? text.data : "more");
    buf_deinit(&text);
}

/* The first form that all members belong to and that lacks none. -1 after a fault. */
static int choose_form(struct packer *k) {
    unsigned first = 0;
    for (unsigned form = 0; form < k->table->form_count; form++)
        if ((k->candidates >> form & 1) != 0 && has_all(k, form))
            return (int)form;
    if (k->conflict)
        return -1; /* that is reported already, and it is not known which form was meant */
    while ((k->candidates >> first & 1) == 0)
        first++;
    if ((k->candidates >> first) != 1) {
        report_all_forms(k);
        return -1;
    }
    for (unsigned row = 0; row < k->table->rows; row++)
        if (needs(k, first, row) && !k->given[row])
            faults_add(k->faults, k->at, "%s is required", k->table->handler->params[row].name);
    return -1;
}

static void pack_fallbacks(struct packer *k, unsigned form) {
    for (unsigned row = 0; row < k->table->rows; row++) {
        const char *text = k->table->handler->params[row].fallback;
        if (k->given[row] || text == NULL || (params_row_forms(k->table, row) >> form & 1) == 0)
            continue;
        const char *end = text + strlen(text);
        struct json_span fallback = {scan_space(text, end), end};
        fallback.end = scan_whole_value(fallback.at, end);
        pack_value(k, row, &fallback, k->at);
    }
}

static void begin_packed(struct packer *k) {
    uint32_t head[4] = {PARAMS_MAGIC, k->table->rows};
    static const struct packed_param none;
    buf_append(k->to, head, sizeof head);
    for (unsigned row = 0; row < k->table->rows; row++)
        buf_append(k->to, &none, sizeof none);
}

void params_pack(const struct params_table *t, const struct json_span *object, const struct place *at,
                 struct buf *packed, struct faults *faults) {
    struct packer k = {.table = t, .to = packed, .faults = faults, .at = at, .candidates = (1u << t->form_count) - 1};
    static const char empty[] = "{}";
    static const struct json_span none = {empty, empty + 2};
    struct json_span name, value;
    char text[JSONTEXT_NAME_ROOM];
    object = object != NULL ? object : &none;
    begin_packed(&k);
    if (*object->at != '{') {
        report_kind(&k, object, at, "an object");
        return;
    }
    for (const char *next = object->at + 1; scan_next_member(&next, object->end, &name, &value);) {
        scan_string(&name, text, sizeof text);
        pack_member(&k, text, &value);
        if (faults_full(faults))
            return;
    }
    int form = choose_form(&k);
    if (form >= 0)
        pack_fallbacks(&k, (unsigned)form);
    align_value(packed);
    uint64_t size = packed->size;
    if (!packed->failed)
        memcpy(packed->data + 8, &size, sizeof size);
}

bool params_pack_blank(const struct params_table *t, uint32_t given, struct buf *packed) {
    struct faults faults = {.limit = 1};
    struct fault fault = {{0}};
    struct packer k = {.table = t, .to = packed, .faults = &faults, .candidates = (1u << t->form_count) - 1};
    begin_packed(&k);
    for (unsigned row = 0; row < t->rows; row++) {
        k.given[row] = (given >> row & 1) != 0;
        if (k.given[row])
            k.candidates &= params_row_forms(t, row);
    }
    int form = k.candidates != 0 ? choose_form(&k) : -1;
    if (form >= 0)
        pack_fallbacks(&k, (unsigned)form);
    align_value(packed);
    faults.code = "invalid_params";
    bool good = faults_finish(&faults, &fault) == 0 && form >= 0;
    fault_deinit(&fault);
    return good;
}
