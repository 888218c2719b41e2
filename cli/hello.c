/* hello.c: see hello.h. Process: the client. */
#include "cli/hello.h"

#include <signal.h>
#include <string.h>

#define NAME_MAX_BYTES 64

static bool fault(struct buf *why, const char *what) {
    buf_puts(why, what);
    return false;
}

static bool all_strings(json_t *array) {
    json_t *item;
    size_t i;
    json_array_foreach(array, i, item) {
        if (!json_is_string(item))
            return false;
    }
    return json_is_array(array);
}

bool hello_check(json_t *hello, bool forked, struct buf *why) {
    json_t *protocol = json_object_get(hello, "protocol"), *fork = json_object_get(hello, "fork");
    json_t *cancel = json_object_get(hello, "cancel_signal"), *sources = json_object_get(hello, "sources");
    json_t *types = json_object_get(hello, "types"), *most = json_object_get(hello, "max_calls");
    json_int_t number = json_integer_value(cancel);
    if (!json_is_integer(protocol) || json_integer_value(protocol) != 1)
        return fault(why, "\"protocol\" has to be the number 1");
    if (fork != NULL && !json_is_boolean(fork))
        return fault(why, "\"fork\" has to be true or false");
    if (cancel != NULL && (!json_is_integer(cancel) || number < 1 || number >= NSIG))
        return fault(why, "\"cancel_signal\" has to be the number of a signal");
    if (number == SIGKILL || number == SIGSTOP)
        return fault(why, "\"cancel_signal\" has to be a signal that a process can handle: not SIGKILL or SIGSTOP");
    if (most != NULL && (!json_is_integer(most) || json_integer_value(most) < 1))
        return fault(why, "\"max_calls\" has to be a number from 1 up");
    if (sources != NULL && !all_strings(sources))
        return fault(why, "\"sources\" has to be an array of strings");
    if (forked && types != NULL)
        return fault(why, "a process that was forked from a template has to leave out \"types\"");
    if (!forked && json_array_size(types) == 0)
        return fault(why, "\"types\" has to be an array with at least one type");
    return true;
}

/* ---- types ------------------------------------------------------------------------------------------------------- */

static bool is_name(const char *name) {
    static const char first[] = "abcdefghijklmnopqrstuvwxyz";
    static const char next[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t size = name != NULL ? strlen(name) : 0;
    return size > 0 && size <= NAME_MAX_BYTES && strchr(first, name[0]) != NULL && strspn(name, next) == size;
}

static bool is_unique(json_t *types, size_t index, const char *name) {
    for (size_t i = 0; i < index; i++) {
        const char *other = json_string_value(json_object_get(json_array_get(types, i), "name"));
        if (other != NULL && strcmp(other, name) == 0)
            return false;
    }
    return true;
}

static bool is_type_name(json_t *type) {
    static const char *const known[] = {"integer", "number", "string", "boolean", "array", "object", "null"};
    for (size_t i = 0; json_is_string(type) && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(json_string_value(type), known[i]) == 0)
            return true;
    return false;
}

static bool check_property(const char *name, json_t *property, struct buf *why) {
    json_t *type = json_object_get(property, "type"), *one, *choices = json_object_get(property, "enum");
    json_t *least = json_object_get(property, "minimum"), *most = json_object_get(property, "maximum");
    bool known = type == NULL || is_type_name(type) || json_array_size(type) > 0;
    size_t i;
    json_array_foreach(type, i, one) {
        known = known && is_type_name(one);
    }
    buf_printf(why, "\"params\": property \"%s\": ", name);
    if (!json_is_object(property) && !json_is_boolean(property))
        return fault(why, "it has to be a JSON Schema");
    if (!known)
        return fault(
            why, "\"type\" has to be integer, number, string, boolean, array, object or null, or an array of these");
    if (choices != NULL && json_array_size(choices) == 0)
        return fault(why, "\"enum\" has to be an array with at least one value");
    if ((least != NULL && !json_is_number(least)) || (most != NULL && !json_is_number(most)))
        return fault(why, "\"minimum\" and \"maximum\" have to be numbers");
    if (least != NULL && most != NULL && json_number_value(least) > json_number_value(most))
        return fault(why, "\"minimum\" is above \"maximum\", so no value is right");
    buf_clear(why);
    return true;
}

static bool check_schema(json_t *schema, struct buf *why) {
    json_t *type = json_object_get(schema, "type"), *properties = json_object_get(schema, "properties");
    json_t *required = json_object_get(schema, "required"), *property, *name;
    json_t *more = json_object_get(schema, "additionalProperties");
    const char *text;
    size_t i;
    if (!json_is_object(schema) || !json_is_string(type) || strcmp(json_string_value(type), "object") != 0)
        return fault(why, "\"params\" has to be a JSON Schema whose \"type\" is \"object\"");
    if (properties != NULL && !json_is_object(properties))
        return fault(why, "\"params\": \"properties\" has to be an object");
    if (more != NULL && !json_is_boolean(more) && !json_is_object(more))
        return fault(why, "\"params\": \"additionalProperties\" has to be true, false or a JSON Schema");
    json_object_foreach(properties, text, property) {
        if (!check_property(text, property, why))
            return false;
    }
    if (required != NULL && !all_strings(required))
        return fault(why, "\"params\": \"required\" has to be an array of strings");
    json_array_foreach(required, i, name) {
        if (json_object_get(properties, json_string_value(name)) != NULL)
            continue;
        buf_printf(why, "\"params\": \"required\" names \"%s\", which is no property", json_string_value(name));
        return false;
    }
    return true;
}

static bool check_flags(json_t *flags, struct buf *why) {
    json_t *flag;
    size_t i;
    if (flags != NULL && !all_strings(flags))
        return fault(why, "\"flags\" has to be an array of strings");
    json_array_foreach(flags, i, flag) {
        if (strcmp(json_string_value(flag), "split") == 0 || strcmp(json_string_value(flag), "merge") == 0)
            continue;
        buf_printf(why, "\"flags\" can have \"split\" and \"merge\", and has \"%s\"", json_string_value(flag));
        return false;
    }
    return true;
}

bool hello_check_type(json_t *hello, size_t index, struct buf *why) {
    json_t *types = json_object_get(hello, "types"), *type = json_array_get(types, index);
    json_t *summary = json_object_get(type, "summary"), *timeout = json_object_get(type, "timeout");
    json_t *attempts = json_object_get(type, "max_attempts");
    const char *name = json_string_value(json_object_get(type, "name"));
    if (!json_is_object(type))
        return fault(why, "a type has to be an object");
    if (!is_name(name))
        return fault(why, "\"name\" has to be [a-z][a-z0-9_-]*, at most 64 bytes");
    if (!is_unique(types, index, name))
        return fault(why, "\"name\": another type has it, too");
    if (summary != NULL && (!json_is_string(summary) || strpbrk(json_string_value(summary), "\r\n") != NULL))
        return fault(why, "\"summary\" has to be a string of one line");
    if (timeout != NULL && !(json_number_value(timeout) > 0))
        return fault(why, "\"timeout\" has to be a number of seconds above 0");
    if (attempts != NULL && json_integer_value(attempts) < 1)
        return fault(why, "\"max_attempts\" has to be a whole number above 0");
    return check_schema(json_object_get(type, "params"), why) && check_flags(json_object_get(type, "flags"), why);
}
