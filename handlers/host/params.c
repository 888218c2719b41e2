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
        if (p->fallback != NULL)
            t->fallbacks[t->rows] = jsontext_parse(p->fallback, strlen(p->fallback), 16, &fault);
        if (fault.json.size > 0)
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

void params_table_deinit(struct params_table *t) {
    for (unsigned row = 0; row < t->rows; row++)
        json_decref(t->fallbacks[row]);
    memset(t, 0, sizeof *t);
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

static void pack_integer(struct packer *k, unsigned row, json_t *value, const struct place *at) {
    const struct param_spec *spec = &k->table->handler->params[row];
    struct integer integer;
    if (params_read_integer(value, spec->min, spec->max, at, &integer, k->faults))
        set_text(k, row, integer.digits, integer.size);
}

static void pack_boolean(struct packer *k, unsigned row, json_t *value, const struct place *at) {
    if (json_is_boolean(value))
        set_row(k, row, 0, 0, json_is_true(value));
    else
        faults_add(k->faults, at, "must be true or false, not %s", jsontext_kind(value));
}

static void pack_enum(struct packer *k, unsigned row, json_t *value, const struct place *at) {
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

static void pack_text(struct packer *k, unsigned row, json_t *value, const struct place *at) {
    if (jsontext_is_text(value))
        set_text(k, row, json_string_value(value), json_string_length(value));
    else
        faults_add(k->faults, at, "must be a string, not %s", jsontext_kind(value));
}

static void pack_json(struct packer *k, unsigned row, json_t *value, const struct place *at) {
    align_value(k->to);
    size_t offset = k->to->size;
    jsontext_write(k->to, value, at, k->faults);
    size_t size = k->to->size - offset;
    buf_putc(k->to, '\0');
    set_row(k, row, offset, size, 1);
}

/* ---- lists of texts ---------------------------------------------------------------------------------------------- */

/* A list of texts under way. The ends stand before the texts, and each is set when its text is appended. */
struct text_list {
    struct buf *to;
    size_t offset, texts; /* where the ends start, and where the texts start */
    size_t done;
};

static struct text_list begin_texts(struct buf *to, size_t count) {
    align_value(to);
    struct text_list list = {.to = to, .offset = to->size};
    char *ends = buf_reserve(to, count * sizeof(uint64_t));
    if (ends != NULL) {
        memset(ends, 0, count * sizeof(uint64_t) + 1);
        to->size += count * sizeof(uint64_t);
    }
    list.texts = to->size;
    return list;
}

static void add_text(struct text_list *list, const char *text, size_t size, bool real) {
    buf_append(list->to, text, size);
    buf_putc(list->to, '\0');
    if (list->to->failed)
        return;
    uint64_t end = (list->to->size - list->texts) | (real ? PACKED_TEXT_REAL : 0);
    memcpy(list->to->data + list->offset + list->done * sizeof end, &end, sizeof end);
    list->done++;
}

static void pack_texts(struct packer *k, unsigned row, json_t *value, const struct place *at) {
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (!json_is_array(value) && !jsontext_is_text(value)) {
        faults_add(k->faults, at, "must be a string or an array of strings, not %s", jsontext_kind(value));
        return;
    }
    struct text_list list = begin_texts(k->to, count);
    struct place element = {.up = at};
    for (; element.index < count && !faults_full(k->faults); element.index++) {
        json_t *text = json_is_array(value) ? json_array_get(value, element.index) : value;
        if (jsontext_is_text(text))
            add_text(&list, json_string_value(text), json_string_length(text), false);
        else
            faults_add(k->faults, &element, "must be a string, not %s", jsontext_kind(text));
    }
    struct packed_param *packed = set_row(k, row, list.offset, k->to->size - list.offset, count);
    if (packed != NULL && json_is_array(value))
        packed->flags |= PACKED_LIST;
}

/* ---- lists of numbers -------------------------------------------------------------------------------------------- */

/* What an array of numbers holds. It decides the form of the array. */
struct survey {
    bool any_real;      /* some number is written as a real, whether reals are allowed or not */
    bool beyond_i64;    /* some integer is */
    bool beyond_double; /* a double might round some integer */
};

static bool takes_reals(const struct packer *k, unsigned row) {
    return (k->table->handler->params[row].flags & PARAM_REALS) != 0;
}

/* Reads an integer that fits into 64 bits. One that jansson keeps needs no digits for that. */
static bool small_integer(const json_t *value, int64_t *out) {
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    struct integer integer;
    if (to_integer(value, &integer) != NUMBER_OK)
        return false;
    return number_to_i64(integer.digits, integer.size, out);
}

static void survey_number(struct packer *k, unsigned row, json_t *value, const struct place *at, struct survey *s) {
    int64_t small;
    double real;
    bool is_real = jsontext_is_real(value);
    s->any_real |= is_real;
    if (is_real && takes_reals(k, row)) {
        if (!jsontext_real(value, &real))
            faults_add(k->faults, at, "is beyond the range of a 64-bit floating-point number");
        return;
    }
    if (small_integer(value, &small)) {
        s->beyond_double |= small > NUMBER_MAX_EXACT + 1 || small < -NUMBER_MAX_EXACT - 1;
        return;
    }
    s->beyond_i64 = s->beyond_double = true;
    struct integer integer;
    params_read_integer(value, NULL, NULL, at, &integer, k->faults);
}

static struct packed_param *pack_number_texts(struct packer *k, unsigned row, json_t *array) {
    size_t count = json_array_size(array);
    struct text_list list = begin_texts(k->to, count);
    for (size_t i = 0; i < count; i++) {
        json_t *value = json_array_get(array, i);
        char text[40];
        double real;
        struct integer integer;
        if (takes_reals(k, row) && jsontext_is_real(value)) {
            if (jsontext_real(value, &real))
                add_text(&list, text, (size_t)snprintf(text, sizeof text, "%.17g", real), true);
        } else if (to_integer(value, &integer) == NUMBER_OK) {
            add_text(&list, integer.digits, integer.size, false);
        }
    }
    return set_row(k, row, list.offset, k->to->size - list.offset, count);
}

static void append_i64(struct packer *k, json_t *value) {
    int64_t integer = 0;
    small_integer(value, &integer);
    buf_append(k->to, &integer, sizeof integer);
}

static void append_f64(struct packer *k, json_t *value) {
    double real = 0;
    int64_t integer;
    if (!jsontext_real(value, &real) && small_integer(value, &integer))
        real = (double)integer;
    buf_append(k->to, &real, sizeof real);
}

static struct packed_param *pack_number_array(struct packer *k, unsigned row, json_t *array,
                                              void (*append)(struct packer *k, json_t *value)) {
    size_t count = json_array_size(array);
    align_value(k->to);
    size_t offset = k->to->size;
    buf_reserve(k->to, count * 8);
    for (size_t i = 0; i < count; i++)
        append(k, json_array_get(array, i));
    return set_row(k, row, offset, k->to->size - offset, count);
}

static void pack_numbers(struct packer *k, unsigned row, json_t *array, const struct place *at) {
    if (!json_is_array(array)) {
        faults_add(k->faults, at, "must be an array of numbers, not %s", jsontext_kind(array));
        return;
    }
    struct survey survey = {0};
    struct place element = {.up = at};
    for (; element.index < json_array_size(array) && !faults_full(k->faults); element.index++)
        survey_number(k, row, json_array_get(array, element.index), &element, &survey);
    if (k->faults->count > 0)
        return;
    bool mixed = survey.any_real && takes_reals(k, row);
    bool as_text = mixed ? survey.beyond_double : survey.beyond_i64;
    struct packed_param *packed =
        as_text ? pack_number_texts(k, row, array) : pack_number_array(k, row, array, mixed ? append_f64 : append_i64);
    if (packed == NULL)
        return;
    packed->numbers = (uint8_t)(as_text ? NUMBERS_TEXT : mixed ? NUMBERS_F64 : NUMBERS_I64);
    packed->flags = (uint8_t)(packed->flags | (survey.any_real ? PACKED_REAL : 0));
}

/* ---- the object -------------------------------------------------------------------------------------------------- */

static void pack_value(struct packer *k, unsigned row, json_t *value, const struct place *at) {
    static void (*const by_kind[])(struct packer * k, unsigned row, json_t *value, const struct place *at) = {
        [PARAM_INTEGER] = pack_integer, [PARAM_BOOLEAN] = pack_boolean, [PARAM_ENUM] = pack_enum,
        [PARAM_TEXT] = pack_text,       [PARAM_TEXTS] = pack_texts,     [PARAM_NUMBERS] = pack_numbers,
        [PARAM_JSON] = pack_json,
    };
    by_kind[k->table->handler->params[row].kind](k, row, value, at);
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

static void pack_member(struct packer *k, const char *name, json_t *value) {
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
        if (k->given[row] || k->table->fallbacks[row] == NULL)
            continue;
        if ((params_row_forms(k->table, row) >> form & 1) != 0)
            pack_value(k, row, k->table->fallbacks[row], k->at);
    }
}

static void begin_packed(struct packer *k) {
    uint32_t head[4] = {PARAMS_MAGIC, k->table->rows};
    static const struct packed_param none;
    buf_append(k->to, head, sizeof head);
    for (unsigned row = 0; row < k->table->rows; row++)
        buf_append(k->to, &none, sizeof none);
}

void params_pack(const struct params_table *t, json_t *object, const struct place *at, struct buf *packed,
                 struct faults *faults) {
    struct packer k = {.table = t, .to = packed, .faults = faults, .at = at, .candidates = (1u << t->form_count) - 1};
    const char *name;
    json_t *value;
    begin_packed(&k);
    if (object != NULL && !json_is_object(object)) {
        faults_add(faults, at, "must be an object, not %s", jsontext_kind(object));
        return;
    }
    json_object_foreach(object, name, value) {
        pack_member(&k, name, value);
        if (faults_full(faults))
            return;
    }
    int form = choose_form(&k);
    if (form >= 0)
        pack_fallbacks(&k, (unsigned)form);
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
