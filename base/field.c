/* field.c: see field.h. Any process. */
#include "base/field.h"

#include <string.h>
#include <strings.h>

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

struct field_part field_trim(const char *at, size_t size) {
    while (size > 0 && is_space(at[0])) {
        at++;
        size--;
    }
    while (size > 0 && is_space(at[size - 1]))
        size--;
    return (struct field_part){at, size};
}

/* How many bytes there are before the separator, or all of them. A quoted string that does not end goes on to the end
 * of the field. */
static size_t span(const struct field_part *rest, char separator) {
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->size && (quoted || rest->at[i] != separator); i++) {
        if (rest->at[i] == '"')
            quoted = !quoted;
        else if (quoted && rest->at[i] == '\\' && i + 1 < rest->size)
            i++;
    }
    return i;
}

bool field_next(struct field_part *rest, char separator, struct field_part *part) {
    while (rest->size > 0) {
        size_t n = span(rest, separator), passed = n < rest->size ? n + 1 : n;
        *part = field_trim(rest->at, n);
        rest->at += passed;
        rest->size -= passed;
        if (part->size > 0)
            return true;
    }
    return false;
}

bool field_is(const struct field_part *part, const char *text) {
    return strlen(text) == part->size && strncasecmp(part->at, text, part->size) == 0;
}

struct field_part field_take_name(struct field_part *part) {
    const char *equals = part->size == 0 ? NULL : memchr(part->at, '=', part->size);
    size_t n = equals == NULL ? part->size : (size_t)(equals - part->at);
    struct field_part name = field_trim(part->at, n);
    size_t passed = equals == NULL ? n : n + 1;
    *part = field_trim(part->at + passed, part->size - passed);
    if (part->size >= 2 && part->at[0] == '"' && part->at[part->size - 1] == '"')
        *part = (struct field_part){part->at + 1, part->size - 2};
    return name;
}

bool field_read_number(const struct field_part *part, uint64_t most, uint64_t *value) {
    uint64_t n = 0;
    for (size_t i = 0; i < part->size; i++) {
        uint64_t digit = (uint64_t)(unsigned char)part->at[i] - '0';
        if (digit > 9)
            return false;
        n = n > (most - digit) / 10 || digit > most ? most : 10 * n + digit;
    }
    if (part->size == 0)
        return false;
    *value = n;
    return true;
}

/* "0", "0.5", "0.125", "1", "1.000". */
static int read_weight(const struct field_part *value) {
    int weight = 0, place = 1000;
    if (value->size == 0 || value->size > 5 || (value->size > 1 && value->at[1] != '.'))
        return -1;
    for (size_t i = 0; i < value->size; i++) {
        if (i == 1)
            continue;
        if (value->at[i] < '0' || value->at[i] > '9')
            return -1;
        weight += place * (value->at[i] - '0');
        place /= 10;
    }
    return weight > 1000 ? -1 : weight;
}

int field_read_weight(struct field_part rest) {
    struct field_part value;
    int weight = 1000;
    while (field_next(&rest, ';', &value)) {
        struct field_part name = field_take_name(&value);
        if (field_is(&name, "q"))
            weight = read_weight(&value);
    }
    return weight;
}
