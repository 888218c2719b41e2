/* jsontext.c: turns JSON text into jansson's values and back (jsontext.h).
 *
 * jansson reads a number into an int64 or a double. That is not enough: a client can write 10^400, or
 * 1.00000000000000000001 for an integer, which must be taken exactly or rejected. So the text is scanned first. The
 * scan knows strings and numbers and nothing else of JSON. It counts the depth, and finds the numbers that jansson
 * would not keep. If there are any, jansson reads a copy in which they are strings: a mark, then the number as it was
 * written. The mark is random and never leaves the process, so no client can write it.
 *
 * It runs in the front end for small bodies, and in workers. */
#include "handlers/host/jsontext.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

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
    struct buf *copy; /* in which numbers are marked; empty if there are none to mark */
    size_t copied;    /* bytes of the text that are in the copy */
    size_t marked;    /* numbers that have a mark */
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

/* Goes through the text. False if it stops at a bracket that is too deep. */
static bool scan_text(struct scan *s) {
    while (s->at < s->size) {
        char c = s->text[s->at];
        if (c == '"') {
            skip_string(s);
        } else if (is_digit(c) || c == '-') {
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
    size_t position = error->position > 0 ? (size_t)error->position : 0;
    if (s->marked > 0)
        position = position_in_text(s, position);
    else if (position > s->size)
        position = s->size;
    char detail[JSON_ERROR_TEXT_LENGTH + 64];
    switch (json_error_code(error)) {
    case json_error_duplicate_key:
        snprintf(detail, sizeof detail, "a name occurs twice in one object: %s", error->text);
        return fault_set_text(fault, "duplicate_key", detail, s->text, position);
    case json_error_invalid_utf8:
        snprintf(detail, sizeof detail, "the text is not UTF-8: %s", error->text);
        return fault_set_text(fault, "not_utf8", detail, s->text, position);
    case json_error_stack_overflow:
        return fault_set_text(fault, "too_deep", "arrays and objects are nested too deeply", s->text, position);
    case json_error_out_of_memory: return fault_set(fault, "memory_limit", "there is no memory to read the JSON");
    case json_error_null_byte_in_key: {
        struct faults faults = {.code = "invalid_params"};
        faults_add(&faults, NULL, "a name within it holds U+0000: no member is called so");
        return faults_finish(&faults, fault);
    }
    default:
        snprintf(detail, sizeof detail, "this is not JSON: %s", error->text);
        return fault_set_text(fault, "invalid_json", detail, s->text, position);
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

json_t *jsontext_parse(const void *text, size_t size, unsigned max_depth, struct fault *fault) {
    struct buf copy = {0};
    struct scan s = {.text = size > 0 ? text : "", .size = size, .max_depth = max_depth, .copy = &copy};
    json_error_t error;
    json_t *value = NULL;
    make_mark();
    const char *nul = memchr(s.text, '\0', size);
    if (nul != NULL) { /* jansson 2.14 would skip some NULs */
        fault_set_text(fault, "invalid_json", "this is not JSON: NUL byte", s.text, (size_t)(nul - s.text) + 1);
        goto out;
    }
    if (!scan_text(&s)) {
        char detail[80];
        snprintf(detail, sizeof detail, "arrays and objects are nested more than %u deep", max_depth);
        fault_set_text(fault, "too_deep", detail, s.text, s.at + 1);
        goto out;
    }
    const char *source = s.text;
    if (s.marked > 0) {
        buf_append(&copy, s.text + s.copied, size - s.copied);
        source = copy.data;
        size = copy.size;
    }
    if (copy.failed) {
        fault_set(fault, "memory_limit", "there is no memory to read the JSON");
        goto out;
    }
    json_set_alloc_funcs(json_malloc, free);
    out_of_memory = false;
    value = json_loadb(source, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (value == NULL && out_of_memory)
        fault_set(fault, "memory_limit", "there is no memory to read the JSON");
    else if (value == NULL)
        report_error(&s, &error, fault);
out:
    buf_deinit(&copy);
    return value;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

bool jsontext_number(const json_t *value, const char **text, size_t *size) {
    if (!json_is_string(value) || json_string_length(value) <= MARK_SIZE)
        return false;
    const char *string = json_string_value(value);
    if (memcmp(string, mark, MARK_SIZE) != 0)
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
