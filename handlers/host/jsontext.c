/* jsontext.c: turns JSON text into jansson's values and back (jsontext.h).
 *
 * jansson reads a number into an int64 or a double. That is not enough: a client can write 10^400, or
 * 1.00000000000000000001 for an integer, which must be taken exactly or rejected. So the text is scanned first. The
 * scan knows strings and numbers and nothing else of JSON. It counts the depth, and finds the numbers that jansson
 * would not keep. If there are any, jansson reads a copy in which they are strings: a mark, then the number as it was
 * written. The mark is random and never leaves the process, so no client can write it.
 *
 * A tree can have a hundred times as many bytes as its text. So a text is only checked (jsoncheck.h), and its values are
 * read from it one by one. jansson says what is wrong with a text: it gets an excerpt with the same mistake.
 *
 * It runs in the front end for small bodies, and in workers. */
#include "handlers/host/jsontext.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "handlers/host/jsoncheck.h"
#include "handlers/host/number.h"

enum {
    MARK_SIZE = 32,
    MARK_GROWTH = MARK_SIZE + 2, /* with the quotes */
    EXACT_DIGITS = 15,           /* a double keeps so many decimal digits (DBL_DIG) */
    SURE_INTEGER_DIGITS = 18     /* an int64 holds every integer of so many digits */
};

static char mark[MARK_SIZE];

/* ---- the scan ---------------------------------------------------------------------------------------------------- */

struct scan {
    const char *text;
    size_t size, at;
    unsigned depth, max_depth;
    struct buf *copy; /* in which numbers are marked; empty if there are none to mark; NULL: none is marked */
    size_t copied;    /* bytes of the text that are in the copy */
    size_t marked;    /* numbers that have a mark */
    /* If the text is an excerpt: the whole text, and how much further on everything stands in it. */
    const char *whole;
    size_t whole_size, shift;
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static size_t skip_digits(const struct scan *s, size_t at) {
    while (at < s->size && is_digit(s->text[at]))
        at++;
    return at;
}

static void skip_string(struct scan *s) {
    size_t at = s->at + 1;
    while (at < s->size && s->text[at] != '"')
        at += s->text[at] == '\\' ? 2 : 1;
    s->at = at < s->size ? at + 1 : s->size;
}

/* Is it certain that the double nearest to this number is not an integer? Then it cannot be mistaken for one, and can
 * be a double. Most numbers with 16 or 17 digits are of this kind. */
static bool is_clearly_fractional(size_t whole_size, const char *fraction, size_t fraction_size) {
    if (whole_size > 6 || fraction_size < 6)
        return false;
    return memcmp(fraction, "000000", 6) != 0 && memcmp(fraction, "999999", 6) != 0;
}

/* Returns where the number at s->at ends, or s->at if it is none. Sets *inexact if jansson would not keep it. */
static size_t scan_number(const struct scan *s, bool *inexact) {
    size_t whole = s->at + (s->text[s->at] == '-');
    size_t end = skip_digits(s, whole);
    size_t whole_size = end - whole;
    if (whole_size == 0 || (whole_size > 1 && s->text[whole] == '0'))
        return s->at;
    bool has_point = end < s->size && s->text[end] == '.';
    size_t fraction = end + 1, fraction_size = 0;
    if (has_point) {
        end = skip_digits(s, fraction);
        fraction_size = end - fraction;
        if (fraction_size == 0)
            return s->at;
    }
    if (end < s->size && (s->text[end] == 'e' || s->text[end] == 'E')) {
        size_t exponent = end + 1;
        exponent += exponent < s->size && (s->text[exponent] == '-' || s->text[exponent] == '+');
        end = skip_digits(s, exponent);
        /* Numbers like 12e3 are common. With one digit of exponent and few others they are within the 15 of a
         * double. */
        *inexact = end - exponent > 1 || whole_size + fraction_size > EXACT_DIGITS - 9;
        return end == exponent ? s->at : end;
    }
    if (!has_point)
        *inexact = whole_size > SURE_INTEGER_DIGITS;
    else
        *inexact = whole_size + fraction_size > EXACT_DIGITS &&
                   !is_clearly_fractional(whole_size, s->text + fraction, fraction_size);
    return end;
}

/* A number in the place of a name is an error, which jansson must see. */
static bool is_followed_by_colon(const struct scan *s, size_t at) {
    while (at < s->size && memchr(" \t\r\n", s->text[at], 4) != NULL)
        at++;
    return at < s->size && s->text[at] == ':';
}

/* Passes over a number. One that jansson would not keep is marked in the copy. */
static void skip_number(struct scan *s) {
    bool inexact = false;
    size_t end = scan_number(s, &inexact);
    if (inexact && end > s->at && !is_followed_by_colon(s, end)) {
        buf_append(s->copy, s->text + s->copied, s->at - s->copied);
        buf_putc(s->copy, '"');
        buf_append(s->copy, mark, MARK_SIZE);
        buf_append(s->copy, s->text + s->at, end - s->at);
        buf_putc(s->copy, '"');
        s->copied = end;
        s->marked++;
    }
    s->at = end > s->at ? end : s->at + 1;
}

/* Goes through the text, and marks numbers if there is a copy. False if it stops at a bracket that is too deep. */
static bool scan_text(struct scan *s) {
    while (s->at < s->size) {
        char c = s->text[s->at];
        if (c == '"') {
            skip_string(s);
        } else if (s->copy != NULL && (is_digit(c) || c == '-')) {
            skip_number(s);
        } else {
            if (c == '{' || c == '[')
                s->depth++;
            else if ((c == '}' || c == ']') && s->depth > 0)
                s->depth--;
            if (s->depth > s->max_depth)
                return false;
            s->at++;
        }
    }
    return true;
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* Turns a position in the copy into that in the text: each marked number before it is longer in the copy. It goes
 * through the text again, which is only needed if there are marked numbers and an error. */
static size_t position_in_text(const struct scan *done, size_t position) {
    struct buf copy = {0};
    struct scan s = {.text = done->text, .size = done->size, .max_depth = done->max_depth, .copy = &copy};
    size_t grown = 0;
    while (s.at < s.size && s.at + grown < position) {
        size_t before = s.marked;
        char c = s.text[s.at];
        if (c == '"')
            skip_string(&s);
        else if (is_digit(c) || c == '-')
            skip_number(&s);
        else
            s.at++;
        if (s.marked > before && s.at + grown + MARK_GROWTH <= position)
            grown += MARK_GROWTH;
    }
    buf_deinit(&copy);
    size_t back = position - grown;
    return back < done->size ? back : done->size;
}

static int report_error(const struct scan *s, const json_error_t *error, struct fault *fault) {
    const char *text = s->whole != NULL ? s->whole : s->text;
    size_t position = error->position > 0 ? (size_t)error->position : 0;
    if (s->marked > 0)
        position = position_in_text(s, position);
    else if (position > s->size)
        position = s->size;
    if (s->whole != NULL) {
        position += s->shift;
        position = position < s->whole_size ? position : s->whole_size;
    }
    char detail[JSON_ERROR_TEXT_LENGTH + 64];
    switch (json_error_code(error)) {
    case json_error_duplicate_key:
        snprintf(detail, sizeof detail, "a name occurs twice in one object: %s", error->text);
        return fault_set_text(fault, "duplicate_key", detail, text, position);
    case json_error_invalid_utf8:
        snprintf(detail, sizeof detail, "the text is not UTF-8: %s", error->text);
        return fault_set_text(fault, "not_utf8", detail, text, position);
    case json_error_stack_overflow:
        return fault_set_text(fault, "too_deep", "arrays and objects are nested too deeply", text, position);
    case json_error_out_of_memory: return fault_set(fault, "memory_limit", "there is no memory to read the JSON");
    case json_error_null_byte_in_key: {
        struct faults faults = {.code = "invalid_params"};
        faults_add(&faults, NULL, "a name within it holds U+0000: no member is called so");
        return faults_finish(&faults, fault);
    }
    default:
        snprintf(detail, sizeof detail, "this is not JSON: %s", error->text);
        return fault_set_text(fault, "invalid_json", detail, text, position);
    }
}

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

static void make_mark(void) {
    unsigned char random[MARK_SIZE / 2];
    if (mark[0] != '\0')
        return;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        abort();
    for (size_t i = 0; i < sizeof random; i++) {
        mark[2 * i] = (char)('a' + (random[i] >> 4));
        mark[2 * i + 1] = (char)('a' + (random[i] & 15));
    }
}

/* jansson does not always say that memory ran out: then its lexer finds a token that is not there. */
static _Thread_local bool out_of_memory;

static void *json_malloc(size_t size) {
    void *bytes = malloc(size);
    out_of_memory = out_of_memory || bytes == NULL;
    return bytes;
}

/* Rejects what can be said without jansson. 0, or -1. */
static int check_front(const char *text, size_t size, struct fault *fault) {
    static const struct {
        const char *bytes;
        size_t size;
    } marks[] = {{"\xEF\xBB\xBF", 3}, {"\xFF\xFE", 2}, {"\xFE\xFF", 2}};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        if (size >= marks[i].size && memcmp(text, marks[i].bytes, marks[i].size) == 0)
            return fault_set_text(fault, "invalid_json",
                                  i == 0 ? "this is not JSON: it begins with a byte order mark"
                                         : "this is not JSON: it begins with the byte order mark of UTF-16 or UTF-32, "
                                           "and JSON is UTF-8",
                                  text, marks[i].size);
    }
    const char *nul = memchr(text, '\0', size);
    if (nul != NULL) /* jansson 2.14 would skip some NULs */
        return fault_set_text(fault, "invalid_json", "this is not JSON: NUL byte", text, (size_t)(nul - text) + 1);
    return 0;
}

static int report_too_deep(const struct scan *s, struct fault *fault) {
    char detail[80];
    snprintf(detail, sizeof detail, "arrays and objects are nested more than %u deep", s->max_depth);
    return fault_set_text(fault, "too_deep", detail, s->text, s->at + 1);
}

/* Has jansson read the text that was scanned. */
static json_t *load(struct scan *s, struct fault *fault) {
    json_error_t error;
    const char *source = s->text;
    size_t size = s->size;
    if (s->marked > 0) {
        buf_append(s->copy, s->text + s->copied, size - s->copied);
        source = s->copy->data;
        size = s->copy->size;
    }
    if (s->copy->failed) {
        fault_set(fault, "memory_limit", "there is no memory to read the JSON");
        return NULL;
    }
    json_set_alloc_funcs(json_malloc, free);
    out_of_memory = false;
    json_t *value = json_loadb(source, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (value == NULL && out_of_memory)
        fault_set(fault, "memory_limit", "there is no memory to read the JSON");
    else if (value == NULL)
        report_error(s, &error, fault);
    return value;
}

json_t *jsontext_parse(const void *text, size_t size, unsigned max_depth, struct fault *fault) {
    struct buf copy = {0};
    struct scan s = {.text = size > 0 ? text : "", .size = size, .max_depth = max_depth, .copy = &copy};
    json_t *value = NULL;
    make_mark();
    if (check_front(s.text, size, fault) == 0) {
        if (scan_text(&s))
            value = load(&s, fault);
        else
            report_too_deep(&s, fault);
    }
    buf_deinit(&copy);
    return value;
}

/* ---- checking ---------------------------------------------------------------------------------------------------- */

/* Has jansson say what is wrong with the excerpt. */
static int report_mistake(const char *text, size_t size, const struct excerpt *e, struct fault *fault) {
    struct buf copy = {0};
    struct scan s = {.text = e->text.data == NULL ? "" : e->text.data,
                     .size = e->text.size,
                     .max_depth = UINT32_MAX,
                     .copy = &copy,
                     .whole = text,
                     .whole_size = size,
                     .shift = e->from - e->front};
    make_mark();
    json_t *value = scan_text(&s) ? load(&s, fault) : NULL;
    if (value != NULL) /* jansson sees no mistake there: another version of it */
        fault_set_text(fault, "invalid_json", "this is not JSON", text, e->from);
    json_decref(value);
    buf_deinit(&copy);
    return -1;
}

int jsontext_check_body(const void *text, size_t size, unsigned max_depth, struct json_list *longest,
                        struct fault *fault) {
    struct excerpt excerpt = {{0}, 0, 0};
    struct scan s = {.text = size > 0 ? text : "", .size = size, .max_depth = max_depth};
    unsigned depth;
    enum jsoncheck found = jsoncheck(s.text, size, &depth, longest, &excerpt);
    int rc = -1;
    if (found == JSONCHECK_GOOD && depth <= max_depth)
        rc = 0;
    else if (check_front(s.text, size, fault) != 0)
        rc = -1;
    else if (!scan_text(&s))
        report_too_deep(&s, fault);
    else if (found == JSONCHECK_NO_MEMORY)
        fault_set(fault, "memory_limit", "there is no memory to read the JSON");
    else
        report_mistake(s.text, size, &excerpt, fault);
    buf_deinit(&excerpt.text);
    return rc;
}

int jsontext_check(const void *text, size_t size, unsigned max_depth, struct fault *fault) {
    struct json_list ignored;
    return jsontext_check_body(text, size, max_depth, &ignored, fault);
}

/* ---- values of a text -------------------------------------------------------------------------------------------- */

/* A number that jansson keeps. NULL if it would not, or if memory ran out. */
static json_t *read_number(const struct json_span *value) {
    struct scan s = {.text = value->at, .size = (size_t)(value->end - value->at)};
    char digits[64];
    bool inexact = false;
    int64_t integer;
    if (scan_plain_integer(value->at, value->end, SURE_INTEGER_DIGITS) == value->end)
        return number_to_i64(value->at, s.size, &integer) ? json_integer(integer) : NULL;
    if (s.size >= sizeof digits || scan_number(&s, &inexact) != s.size || inexact)
        return NULL;
    memcpy(digits, value->at, s.size);
    digits[s.size] = '\0';
    return strpbrk(digits, ".eE") != NULL ? json_real(strtod(digits, NULL)) : NULL; /* -0 is left to jansson */
}

json_t *jsontext_shallow(const struct json_span *value) {
    struct fault ignored = {{0}};
    size_t size = (size_t)(value->end - value->at);
    json_t *v = NULL;
    switch (*value->at) {
    case '[': return json_array();
    case '{': return json_object();
    case 't': return json_true();
    case 'f': return json_false();
    case 'n': return json_null();
    case '"':
        if (jsontext_is_verbatim(value))
            return json_stringn_nocheck(value->at + 1, size - 2);
        break;
    default: v = read_number(value); break;
    }
    if (v == NULL)
        v = jsontext_parse(value->at, size, 1, &ignored);
    fault_deinit(&ignored);
    return v;
}

void jsontext_copy_string(struct buf *to, const struct json_span *string) {
    struct buf text = {0};
    if (jsontext_is_verbatim(string)) {
        buf_append(to, string->at, (size_t)(string->end - string->at));
        return;
    }
    for (const char *at = string->at + 1; at < string->end - 1;) {
        char bytes[4];
        unsigned size = scan_char(&at, bytes);
        buf_append(&text, bytes, size);
    }
    buf_json_string(to, text.data == NULL ? "" : text.data, text.size);
    to->failed |= text.failed;
    buf_deinit(&text);
}

struct copier {
    struct buf *to;
    const char *end;
    struct faults *faults;
};

static const char *copy_value(struct copier *c, const char *at, const struct place *where);

static const char *copy_scalar(struct copier *c, const char *at, const struct place *where) {
    const char *stop = scan_whole_value(at, c->end);
    if (stop == NULL)
        return NULL;
    struct json_span value = {at, stop};
    if (*at == '"') {
        jsontext_copy_string(c->to, &value);
    } else if (*at >= 'a' || scan_plain_integer(at, stop, SURE_INTEGER_DIGITS) == stop) {
        buf_append(c->to, at, (size_t)(stop - at));
    } else {
        json_t *v = jsontext_shallow(&value);
        if (v != NULL)
            jsontext_write(c->to, v, where, c->faults);
        c->to->failed |= v == NULL;
        json_decref(v);
    }
    return stop;
}

/* Behind the value: the place of the next one, with a comma written; *at is where to go on. False at the end of the
 * array or object, or if it cannot go on. */
static bool copy_comma(struct copier *c, const char **at, bool first, char bracket) {
    if (*at == NULL || faults_full(c->faults))
        return false;
    *at = scan_space(*at, c->end);
    if (*at == c->end || **at == bracket)
        return false;
    if (!first) {
        buf_putc(c->to, ',');
        *at = scan_space(*at + 1, c->end);
    }
    return *at < c->end;
}

static const char *copy_end(struct copier *c, const char *at, char bracket) {
    if (at == NULL || at == c->end || *at != bracket)
        return NULL;
    buf_putc(c->to, bracket);
    return at + 1;
}

static const char *copy_array(struct copier *c, const char *at, const struct place *where) {
    struct place element = {.up = where};
    buf_putc(c->to, '[');
    for (at++; copy_comma(c, &at, element.index == 0, ']'); element.index++)
        at = copy_value(c, at, &element);
    return copy_end(c, at, ']');
}

/* A member, from its name on. */
static const char *copy_member(struct copier *c, const char *at, const struct place *where) {
    char text[JSONTEXT_NAME_ROOM];
    struct place member = {.up = where, .name = text};
    struct json_span name = {at, *at == '"' ? scan_whole_value(at, c->end) : NULL};
    if (name.end == NULL)
        return NULL;
    scan_string(&name, text, sizeof text);
    jsontext_copy_string(c->to, &name);
    buf_putc(c->to, ':');
    at = scan_space(name.end, c->end);
    at = at < c->end ? scan_space(at + 1, c->end) : at;
    return at < c->end ? copy_value(c, at, &member) : NULL;
}

static const char *copy_object(struct copier *c, const char *at, const struct place *where) {
    bool first = true;
    buf_putc(c->to, '{');
    for (at++; copy_comma(c, &at, first, '}'); first = false)
        at = copy_member(c, at, where);
    return copy_end(c, at, '}');
}

/* Returns the end of the value, or NULL if it stopped early. The recursion is as deep as the value. */
static const char *copy_value(struct copier *c, const char *at, const struct place *where) {
    return *at == '[' ? copy_array(c, at, where) : *at == '{' ? copy_object(c, at, where) : copy_scalar(c, at, where);
}

void jsontext_copy(struct buf *to, const struct json_span *value, const struct place *at, struct faults *faults) {
    struct copier c = {to, value->end, faults};
    if (copy_value(&c, value->at, at) == NULL && !faults_full(faults))
        to->failed = true;
}

/* ---- values of a tree -------------------------------------------------------------------------------------------- */

/* Looks at all bytes of the mark, wherever the first difference is. Neither a clock nor a fuzzer, which watches memcmp,
 * can find out the mark step by step. */
static bool has_mark(const char *string) {
    unsigned difference = 0;
    for (size_t i = 0; i < MARK_SIZE; i++)
        difference |= (unsigned char)(string[i] ^ mark[i]);
    return difference == 0;
}

bool jsontext_number(const json_t *value, const char **text, size_t *size) {
    if (!json_is_string(value) || json_string_length(value) <= MARK_SIZE)
        return false;
    const char *string = json_string_value(value);
    if (!has_mark(string))
        return false;
    *text = string + MARK_SIZE;
    *size = json_string_length(value) - MARK_SIZE;
    return true;
}

bool jsontext_is_text(const json_t *value) {
    const char *text;
    size_t size;
    return json_is_string(value) && !jsontext_number(value, &text, &size);
}

bool jsontext_is_real(const json_t *value) {
    const char *text;
    size_t size;
    if (json_is_real(value))
        return true;
    return jsontext_number(value, &text, &size) && strpbrk(text, ".eE") != NULL;
}

/* A real can be rounded to the nearest double. But it must not become 0 or infinite. */
bool jsontext_real(const json_t *value, double *real) {
    const char *text;
    size_t size;
    if (!jsontext_number(value, &text, &size)) {
        *real = json_real_value(value);
        return json_is_real(value);
    }
    *real = strtod(text, NULL);
    if (*real == 0)
        return strcspn(text, "123456789") >= strcspn(text, "eE");
    return isfinite(*real);
}

const char *jsontext_kind(const json_t *value) {
    const char *text;
    size_t size;
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return jsontext_number(value, &text, &size) ? "a number" : "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_NULL: return "null";
    default: return "a boolean";
    }
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void write_real(struct buf *to, const json_t *value, const struct place *at, struct faults *faults) {
    double real;
    if (jsontext_real(value, &real))
        number_put_double(to, real);
    else
        faults_add(faults, at, "is beyond the range of a 64-bit floating-point number");
}

static void write_integer(struct buf *to, json_int_t value) {
    struct integer integer;
    number_from_i64(value, &integer);
    buf_append(to, integer.digits, integer.size);
}

static void write_string(struct buf *to, const json_t *value, const struct place *at, struct faults *faults) {
    const char *text;
    size_t size;
    int64_t integer;
    if (!jsontext_number(value, &text, &size))
        buf_json_string(to, json_string_value(value), json_string_length(value));
    else if (jsontext_is_real(value))
        write_real(to, value, at, faults);
    else if (number_to_i64(text, size, &integer))
        buf_append(to, text, size);
    else
        faults_add(faults, at, "is beyond the range of a 64-bit integer; send it as a string");
}

static void write_array(struct buf *to, const json_t *array, const struct place *at, struct faults *faults) {
    struct place element = {.up = at};
    buf_putc(to, '[');
    for (; element.index < json_array_size(array) && !faults_full(faults); element.index++) {
        if (element.index > 0)
            buf_putc(to, ',');
        jsontext_write(to, json_array_get(array, element.index), &element, faults);
    }
    buf_putc(to, ']');
}

static void write_object(struct buf *to, json_t *object, const struct place *at, struct faults *faults) {
    struct place member = {.up = at};
    json_t *value;
    bool first = true;
    buf_putc(to, '{');
    json_object_foreach(object, member.name, value) {
        if (!first)
            buf_putc(to, ',');
        first = false;
        buf_json_string(to, member.name, strlen(member.name));
        buf_putc(to, ':');
        jsontext_write(to, value, &member, faults);
        if (faults_full(faults))
            break;
    }
    buf_putc(to, '}');
}

void jsontext_write(struct buf *to, json_t *value, const struct place *at, struct faults *faults) {
    switch (json_typeof(value)) {
    case JSON_OBJECT: write_object(to, value, at, faults); break;
    case JSON_ARRAY: write_array(to, value, at, faults); break;
    case JSON_STRING: write_string(to, value, at, faults); break;
    case JSON_INTEGER: write_integer(to, json_integer_value(value)); break;
    case JSON_REAL: write_real(to, value, at, faults); break;
    case JSON_TRUE: buf_puts(to, "true"); break;
    case JSON_FALSE: buf_puts(to, "false"); break;
    case JSON_NULL: buf_puts(to, "null"); break;
    }
}
