/* params.c: packs parameters (params.h). Each member of the object is found in the table, checked by the function of
 * its kind, and appended. Then the form is chosen, and the same functions pack the fallbacks. params_view.c reads the
 * packed form.
 *
 * It runs in the front end for small submissions, and in workers for large ones. */
#include "handlers/host/params.h"

#include <stdio.h>

#include "handlers/host/attach_value.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/number.h"
#include "handlers/host/numbers.h"

#define MAX_TOKEN "2147483647" /* INT32_MAX */

/* One call of params_pack. */
struct packer {
    const struct params_table *table;
    struct buf *to;
    struct buf *whole; /* with HANDLER_WHOLE_PARAMS, the packed form; then `to` is only used to check values */
    struct faults *faults;
    const struct place *at;
    unsigned candidates; /* the forms that all members so far belong to, as a mask */
    bool conflict;       /* some member belongs to no form of those before it */
    bool given[PARAMS_MAX];
};

/* ---- the table --------------------------------------------------------------------------------------------------- */

static int reject_table(const struct handler *h, const char *row, const char *why, struct buf *error) {
    buf_printf(error, "the job type %s: %s: %s", h->name, row, why);
    return -1;
}

static bool is_bound(const char *digits) {
    return digits == NULL || number_is_canonical(digits, strlen(digits));
}

/* A name that needs no escapes in JSON, so that it can be compared with what a client writes. */
static bool is_param_name(const char *name) {
    size_t size = 0;
    for (; name[size] != '\0'; size++)
        if ((unsigned char)name[size] < ' ' || name[size] == '"' || name[size] == '\\' || name[size] == 0x7f)
            return false;
    struct buf quoted = {0};
    buf_json_string(&quoted, name, size);
    bool is_utf8 = quoted.failed || (quoted.size == size + 2 && memcmp(quoted.data + 1, name, size) == 0);
    buf_deinit(&quoted);
    return size > 0 && size < JSONTEXT_NAME_ROOM && is_utf8;
}

/* What is wrong with a row; NULL: nothing, or there was no memory to find it out. */
static const char *find_mistake(const struct handler *h, const struct param_spec *p, unsigned form_count) {
    struct fault fault = {0};
    const char *why = NULL;
    if (!is_param_name(p->name))
        return "a name is UTF-8 without quotes, backslashes and control characters, of at most 159 bytes";
    for (const struct param_spec *other = h->params; other != p; other++)
        if (strcmp(other->name, p->name) == 0)
            return "is there twice";
    if ((unsigned)p->kind > PARAM_BYTES)
        return "has no kind that there is";
    if ((p->forms >> form_count) != 0)
        return "belongs to a form that is not named";
    if (p->kind == PARAM_ENUM && (p->choices == NULL || p->choices[0] == NULL))
        return "has no choices";
    if (!is_bound(p->min) || !is_bound(p->max))
        return "min and max are decimal digits";
    if (p->fallback != NULL && jsontext_check(p->fallback, strlen(p->fallback), 16, &fault) != 0 &&
        fault.json.data != NULL && strstr(fault.json.data, "\"memory_limit\"") == NULL)
        why = "its fallback is not JSON";
    fault_deinit(&fault);
    return why;
}

/* FNV-1a over all that the packed form depends on. */
static void add_to_print(uint32_t *print, const char *text) {
    for (; *text != '\0'; text++)
        *print = (*print ^ (unsigned char)*text) * UINT32_C(16777619);
    *print = (*print ^ 0xff) * UINT32_C(16777619);
}

static void print_row(uint32_t *print, const struct param_spec *p) {
    char numbers[64];
    snprintf(numbers, sizeof numbers, "%u %u %u", (unsigned)p->kind, p->flags, p->forms);
    add_to_print(print, p->name);
    add_to_print(print, numbers);
    add_to_print(print, p->min == NULL ? "" : p->min);
    add_to_print(print, p->max == NULL ? "" : p->max);
    add_to_print(print, p->fallback == NULL ? "" : p->fallback);
    for (size_t i = 0; p->kind == PARAM_ENUM && p->choices[i] != NULL; i++)
        add_to_print(print, p->choices[i]);
}

int params_table_init(struct params_table *t, const struct handler *handler, struct buf *error) {
    static uint64_t serial;
    memset(t, 0, sizeof *t);
    t->handler = handler;
    t->serial = ++serial;
    t->print = UINT32_C(2166136261);
    t->whole = (handler->flags & HANDLER_WHOLE_PARAMS) != 0;
    t->open = t->whole && (handler->flags & HANDLER_OPEN_PARAMS) != 0;
    t->form_count = handler->forms == NULL ? 1 : 0;
    while (handler->forms != NULL && handler->forms[t->form_count] != NULL && t->form_count < PARAMS_MAX)
        t->form_count++;
    if (t->form_count == 0 || t->form_count > 31)
        return reject_table(handler, "forms", "there must be 1 to 31", error);
    for (const struct param_spec *p = handler->params; p != NULL && p->name != NULL; p++) {
        if (t->rows == PARAMS_MAX)
            return reject_table(handler, p->name, "too many parameters", error);
        const char *why = find_mistake(handler, p, t->form_count);
        if (why != NULL)
            return reject_table(handler, p->name, why, error);
        for (unsigned form = 0; form < t->form_count; form++) {
            uint32_t bit = p->forms == 0 || (p->forms >> form & 1) != 0 ? UINT32_C(1) << t->rows : 0;
            t->form_rows[form] |= bit;
            t->form_required[form] |= (p->flags & PARAM_REQUIRED) != 0 ? bit : 0;
            t->form_present[form] |= p->fallback != NULL ? bit : 0;
        }
        t->takes_bytes |= p->kind == PARAM_BYTES;
        print_row(&t->print, p);
        t->rows++;
    }
    return 0;
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

/* "must be ..., not an integer" */
static void report_kind(struct packer *k, const struct json_span *value, const struct place *at, const char *what) {
    json_t *v = jsontext_shallow(value);
    if (v != NULL)
        faults_add(k->faults, at, "must be %s, not %s", what, jsontext_kind(v));
    k->to->failed |= v == NULL;
    json_decref(v);
}

/* ---- JSON values of some kinds ----------------------------------------------------------------------------------- */

static const struct {
    unsigned flag;
    const char *name;
} json_kinds[] = {{PARAM_NUMBER, "a number"}, {PARAM_STRING, "a string"},  {PARAM_BOOL, "a boolean"},
                  {PARAM_ARRAY, "an array"},  {PARAM_OBJECT, "an object"}, {PARAM_NULL, "null"}};

unsigned params_kind_of(char first) {
    switch (first) {
    case '"': return PARAM_STRING;
    case '[': return PARAM_ARRAY;
    case '{': return PARAM_OBJECT;
    case 't':
    case 'f': return PARAM_BOOL;
    case 'n': return PARAM_NULL;
    default: return PARAM_NUMBER;
    }
}

/* "must be an array or null, not a string" */
static bool check_json_kind(struct packer *k, unsigned row, const struct json_span *value, const struct place *at) {
    const struct param_spec *spec = &k->table->handler->params[row];
    struct buf what = {0};
    if (params_takes_kind(spec, *value->at))
        return true;
    unsigned left = spec->flags & PARAM_KINDS;
    for (size_t i = 0; i < sizeof json_kinds / sizeof json_kinds[0]; i++) {
        if ((spec->flags & json_kinds[i].flag) == 0)
            continue;
        left &= ~json_kinds[i].flag;
        buf_printf(&what, "%s%s", what.size == 0 ? "" : left == 0 ? " or " : ", ", json_kinds[i].name);
    }
    report_kind(k, value, at, what.failed ? "of another kind" : what.data);
    buf_deinit(&what);
    return false;
}

static void pack_json(struct packer *k, unsigned row, const struct json_span *value, const struct place *at) {
    if (!check_json_kind(k, row, value, at))
        return;
    align_value(k->to);
    size_t offset = k->to->size;
    jsontext_copy(k->to, value, at, k->faults);
    size_t size = k->to->size - offset;
    buf_putc(k->to, '\0');
    set_row(k, row, offset, size, 1);
}

/* It has its one form here, see attach.h. */
static void pack_bytes(struct packer *k, unsigned row, const struct json_span *value, const struct place *at) {
    uint32_t number = 0;
    if (*value->at == 'n' && (k->table->handler->params[row].flags & PARAM_NULL) != 0)
        return; /* only with HANDLER_WHOLE_PARAMS, which copies it */
    const char *why = attach_read(value, &number);
    if (why != NULL)
        faults_add(k->faults, at, "%s", why);
    else
        set_row(k, row, 0, 0, number);
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

/* What was appended since the text before is a text. */
static void end_text(struct text_list *list) {
    buf_putc(list->to, '\0');
    if (list->to->failed)
        return;
    uint64_t end = list->to->size - list->texts;
    uint32_t narrow = (uint32_t)end;
    char *at = list->to->data + list->offset + list->done * list->width;
    memcpy(at, list->width == sizeof narrow ? (const void *)&narrow : &end, list->width);
    list->done++;
}

static void add_text(struct text_list *list, const char *text, size_t size) {
    buf_append(list->to, text, size);
    end_text(list);
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

/* False after a fault. */
static bool read_token(struct packer *k, const struct json_span *value, const struct place *at, int64_t *id) {
    struct integer integer;
    if (scan_plain_integer(value->at, value->end, 10) == value->end)
        return number_to_i64(value->at, (size_t)(value->end - value->at), id);
    if (params_kind_of(*value->at) != PARAM_NUMBER) {
        report_kind(k, value, at, "a token id");
        return false;
    }
    json_t *v = jsontext_shallow(value);
    k->to->failed |= v == NULL;
    bool good = v != NULL && params_read_integer(v, "0", MAX_TOKEN, at, &integer, k->faults) &&
                number_to_i64(integer.digits, integer.size, id);
    json_decref(v);
    return good;
}

static void pack_token(struct packer *k, const struct json_span *value, const struct place *at) {
    int64_t id;
    if (!read_token(k, value, at, &id))
        return;
    if (id < 0 || id > INT32_MAX)
        faults_add(k->faults, at, "must be from 0 to " MAX_TOKEN);
    else
        buf_append(k->to, &(int32_t){(int32_t)id}, sizeof(int32_t));
}

/* Adds the token ids of an array as one text. */
static void pack_token_list(struct packer *k, struct text_list *list, const struct json_span *array,
                            const struct place *at) {
    struct place element = {.up = at};
    struct json_span token;
    const char *next = array->at + 1;
    if (*array->at != '[') {
        report_kind(k, array, at, "an array of token ids, as the first one is");
        return;
    }
    for (; !faults_full(k->faults) && !k->to->failed && scan_next_element(&next, array->end, &token); element.index++)
        pack_token(k, &token, &element);
    end_text(list);
}

/* An array of token ids, or, with `nested`, an array of such arrays. */
static void pack_tokens(struct packer *k, unsigned row, const struct json_span *value, const struct place *at,
                        bool nested) {
    size_t count = nested ? count_elements(value) : 1;
    /* An id takes two characters or more: a digit, and what stands behind it. */
    struct text_list list = begin_texts(k->to, count, 2 * (size_t)(value->end - value->at));
    struct place element = {.up = at};
    struct json_span array;
    const char *next = value->at + 1;
    if (!nested)
        pack_token_list(k, &list, value, at);
    for (; nested && !faults_full(k->faults) && scan_next_element(&next, value->end, &array); element.index++)
        pack_token_list(k, &list, &array, &element);
    struct packed_param *packed = set_row(k, row, list.offset, k->to->size - list.offset, count);
    if (packed != NULL)
        packed->flags =
            (uint8_t)(packed->flags | PACKED_TOKENS | (nested ? PACKED_LIST : 0) | (list.width == 8 ? PACKED_WIDE : 0));
}

static void pack_texts(struct packer *k, unsigned row, const struct json_span *value, const struct place *at) {
    bool is_list = *value->at == '[', tokens = (k->table->handler->params[row].flags & PARAM_TOKENS) != 0;
    if (!is_list && *value->at != '"') {
        report_kind(k, value, at,
                    tokens ? "a string, an array of strings, or an array of token ids or of such arrays"
                           : "a string or an array of strings");
        return;
    }
    unsigned first = is_list && tokens ? params_kind_of(*scan_space(value->at + 1, value->end)) : PARAM_STRING;
    bool empty = is_list && *scan_space(value->at + 1, value->end) == ']';
    if (!empty && (first == PARAM_NUMBER || first == PARAM_ARRAY)) {
        pack_tokens(k, row, value, at, first == PARAM_ARRAY);
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
    case PARAM_BYTES: pack_bytes(k, row, value, at); break;
    default: pack_single(k, row, value, at);
    }
}

static void report_unknown(struct packer *k, const char *name, const struct place *at) {
    struct buf known = {0};
    for (unsigned row = 0; row < k->table->rows; row++)
        buf_printf(&known, "%s%s", row > 0 ? ", " : "", k->table->handler->params[row].name);
    if ((k->table->handler->flags & HANDLER_HIDDEN) != 0) /* the client has not named a type */
        faults_add(k->faults, at, "\"%.60s\" is not taken here; what is taken: %s", name, known.data);
    else
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

/* ---- parameters as a whole --------------------------------------------------------------------------------------- */

void params_begin_whole(struct buf *packed) {
    static const char zeros[PARAMS_WHOLE_FRONT];
    buf_append(packed, zeros, sizeof zeros);
}

void params_end_whole(struct buf *packed, size_t front) {
    uint32_t magic = PARAMS_WHOLE_MAGIC;
    uint64_t text = packed->size - front - PARAMS_WHOLE_FRONT;
    buf_putc(packed, '\0');
    align_value(packed);
    uint64_t size = packed->size - front;
    if (packed->failed)
        return;
    memcpy(packed->data + front, &magic, sizeof magic);
    memcpy(packed->data + front + 8, &size, sizeof size);
    memcpy(packed->data + front + 16, &text, sizeof text);
}

void params_put_integer(struct buf *to, const char *digits, size_t size) {
    int64_t value;
    bool exact = number_to_i64(digits, size, &value) && value >= -NUMBER_MAX_EXACT && value <= NUMBER_MAX_EXACT;
    buf_puts(to, exact ? "" : "\"");
    buf_append(to, digits, size);
    buf_puts(to, exact ? "" : "\"");
}

/* Is the value right? What is not is reported. Nothing is packed. */
static bool check_value(struct packer *k, unsigned row, const struct json_span *value, const struct place *at) {
    size_t front = k->to->size, faults = k->faults->count;
    enum param_kind kind = k->table->handler->params[row].kind;
    if (kind == PARAM_JSON)
        return check_json_kind(k, row, value, at);
    if (kind == PARAM_TEXT && *value->at == '"')
        return true;
    pack_value(k, row, value, at);
    k->whole->failed |= k->to->failed;
    k->to->size = front;
    return k->faults->count == faults;
}

static void copy_integer(struct packer *k, const struct json_span *value, const struct param_spec *spec,
                         const struct place *at) {
    struct integer integer;
    json_t *v = jsontext_shallow(value);
    if (v != NULL && params_read_integer(v, spec->min, spec->max, at, &integer, k->faults))
        params_put_integer(k->whole, integer.digits, integer.size);
    k->whole->failed |= v == NULL;
    json_decref(v);
}

/* Copies a member that the table has in that row, or, with PARAMS_MAX, not at all. */
static void copy_member(struct packer *k, unsigned row, const struct json_span *name, const struct json_span *value,
                        const struct place *at) {
    const struct param_spec *spec = row < k->table->rows ? &k->table->handler->params[row] : NULL;
    bool is_integer = spec != NULL && spec->kind == PARAM_INTEGER;
    if (spec != NULL && !is_integer && !check_value(k, row, value, at))
        return;
    if (k->whole->size > PARAMS_WHOLE_FRONT + 1)
        buf_putc(k->whole, ',');
    jsontext_copy_string(k->whole, name);
    buf_putc(k->whole, ':');
    if (is_integer)
        copy_integer(k, value, spec, at);
    else
        jsontext_copy(k->whole, value, at, k->faults);
}

/* ---- members and forms ------------------------------------------------------------------------------------------- */

/* Notes that the member is given, and finds its row: PARAMS_MAX if the table has none of that name and is open. False:
 * that is a fault. */
static bool take_name(struct packer *k, const char *name, const struct place *at, unsigned *row) {
    for (*row = 0; *row < k->table->rows; ++*row)
        if (strcmp(k->table->handler->params[*row].name, name) == 0)
            break;
    if (*row == k->table->rows && k->table->open) {
        *row = PARAMS_MAX;
        return true;
    }
    if (*row == k->table->rows) {
        report_unknown(k, name, at);
        return false;
    }
    k->given[*row] = true;
    unsigned forms = params_row_forms(k->table, *row);
    if ((k->candidates & forms) == 0)
        report_conflict(k, *row, at);
    else
        k->candidates &= forms;
    return true;
}

static void pack_member(struct packer *k, const char *name, const struct json_span *quoted,
                        const struct json_span *value) {
    struct place at = {.up = k->at, .name = name};
    unsigned row;
    if (!take_name(k, name, &at, &row))
        return;
    if (k->whole != NULL)
        copy_member(k, row, quoted, value, &at);
    else
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
    uint32_t head[4] = {PARAMS_MAGIC, k->table->print};
    static const struct packed_param none;
    buf_append(k->to, head, sizeof head);
    for (unsigned row = 0; row < k->table->rows; row++)
        buf_append(k->to, &none, sizeof none);
}

static void pack_members(struct packer *k, const struct json_span *object) {
    char text[JSONTEXT_NAME_ROOM];
    struct json_span name, value;
    if (*object->at != '{') {
        report_kind(k, object, k->at, "an object");
        return;
    }
    for (const char *next = object->at + 1; scan_next_member(&next, object->end, &name, &value);) {
        scan_string(&name, text, sizeof text);
        pack_member(k, text, &name, &value);
        if (faults_full(k->faults))
            return;
    }
    int form = choose_form(k);
    if (form >= 0 && k->whole == NULL)
        pack_fallbacks(k, (unsigned)form);
}

/* checked: an empty buffer for the values as they would be packed otherwise, which only shows that they can be. */
static void pack_whole(struct packer *k, const struct json_span *object, struct buf *packed, struct buf *checked) {
    k->to = checked;
    k->whole = packed;
    begin_packed(k);
    params_begin_whole(packed);
    buf_putc(packed, '{');
    pack_members(k, object);
    buf_putc(packed, '}');
    params_end_whole(packed, 0);
    packed->failed |= checked->failed;
}

void params_pack(const struct params_table *t, const struct json_span *object, const struct place *at,
                 struct buf *packed, struct faults *faults) {
    struct packer k = {.table = t, .to = packed, .faults = faults, .at = at, .candidates = (1u << t->form_count) - 1};
    static const char empty[] = "{}";
    static const struct json_span none = {empty, empty + 2};
    object = object != NULL ? object : &none;
    if (t->whole) {
        struct buf checked = {0};
        pack_whole(&k, object, packed, &checked);
        buf_deinit(&checked);
        return;
    }
    begin_packed(&k);
    pack_members(&k, object);
    align_value(packed);
    uint64_t size = packed->size;
    if (!packed->failed)
        memcpy(packed->data + 8, &size, sizeof size);
}

unsigned params_find_row(const struct params_table *t, const struct json_span *name) {
    char text[JSONTEXT_NAME_ROOM];
    unsigned row = 0;
    scan_string(name, text, sizeof text);
    while (row < t->rows && strcmp(t->handler->params[row].name, text) != 0)
        row++;
    return row;
}

void params_check_columns(const struct params_table *t, const struct column *columns, size_t count,
                          const struct place *at, struct faults *faults) {
    struct buf packed = {0}, whole = {0};
    struct packer k = {.table = t, .to = &packed, .faults = faults, .at = at, .candidates = (1u << t->form_count) - 1};
    char text[JSONTEXT_NAME_ROOM];
    k.whole = t->whole ? &whole : NULL;
    begin_packed(&k);
    for (size_t i = 0; i < count && !faults_full(faults); i++) {
        struct place column = {.up = at, .name = text};
        unsigned row;
        scan_string(&columns[i].name, text, sizeof text);
        if (!take_name(&k, text, &column, &row) || columns[i].is_list)
            continue;
        if (t->whole)
            copy_member(&k, row, &columns[i].name, &columns[i].value, &column);
        else
            pack_value(&k, row, &columns[i].value, &column);
    }
    if (!faults_full(faults))
        choose_form(&k);
    if (packed.failed || whole.failed)
        faults_add_no_memory(faults, at);
    buf_deinit(&packed);
    buf_deinit(&whole);
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
    if (form >= 0 && !t->whole)
        pack_fallbacks(&k, (unsigned)form);
    align_value(packed);
    faults.code = "invalid_params";
    bool good = faults_finish(&faults, &fault) == 0 && form >= 0;
    fault_deinit(&fault);
    return good;
}
