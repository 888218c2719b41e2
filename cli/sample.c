/* sample.c: see sample.h. Process: the client. */
#include "cli/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16 /* schemas can contain themselves */
#define ITEMS_MAX 16

static json_t *sample(json_t *root, json_t *schema, int depth);

/* "#/$defs/Point": the place in the root's schema; NULL if there is none. */
static json_t *resolve(json_t *root, const char *reference) {
    json_t *at = root;
    if (strncmp(reference, "#/", 2) != 0)
        return NULL;
    for (const char *name = reference + 2, *end; at != NULL && name != NULL; name = *end == '/' ? end + 1 : NULL) {
        end = name + strcspn(name, "/");
        at = json_object_getn(at, name, (size_t)(end - name));
    }
    return at;
}

static json_t *sample_object(json_t *root, json_t *schema, int depth) {
    json_t *object = json_object(), *properties = json_object_get(schema, "properties"), *name;
    size_t i;
    json_array_foreach(json_object_get(schema, "required"), i, name) {
        json_t *property = json_object_get(properties, json_string_value(name));
        json_object_set_new(object, json_string_value(name), sample(root, property, depth + 1));
    }
    return object;
}

static json_t *sample_array(json_t *root, json_t *schema, int depth) {
    json_t *array = json_array();
    json_int_t least = json_integer_value(json_object_get(schema, "minItems"));
    for (json_int_t i = 0; i < least && i < ITEMS_MAX; i++)
        json_array_append_new(array, sample(root, json_object_get(schema, "items"), depth + 1));
    return array;
}

static double bound(json_t *schema, const char *name, const char *exclusive, double step, double fallback) {
    json_t *inclusive = json_object_get(schema, name), *other = json_object_get(schema, exclusive);
    if (json_is_number(inclusive))
        return json_number_value(inclusive);
    return json_is_number(other) ? json_number_value(other) + step : fallback;
}

/* 1, if that is within the bounds. */
static double sample_number(json_t *schema) {
    double least = bound(schema, "minimum", "exclusiveMinimum", 1, -INFINITY);
    double most = bound(schema, "maximum", "exclusiveMaximum", -1, INFINITY);
    return least > 1 ? least : most < 1 ? most : 1;
}

static json_t *sample_integer(json_t *schema) {
    double n = ceil(sample_number(schema));
    return n > 9e15 || n < -9e15 ? json_integer(1) : json_integer((json_int_t)n);
}

static json_t *sample_string(json_t *schema) {
    json_int_t least = json_integer_value(json_object_get(schema, "minLength"));
    char text[256] = "text";
    if (json_object_get(schema, "contentEncoding") != NULL)
        return json_string("dGV4dA==");
    if (least > 4 && least < (json_int_t)sizeof text)
        memset(text, 'x', (size_t)least);
    return json_string(text);
}

static json_t *sample_type(json_t *root, json_t *schema, const char *type, int depth) {
    if (strcmp(type, "integer") == 0)
        return sample_integer(schema);
    if (strcmp(type, "number") == 0)
        return json_real(sample_number(schema));
    if (strcmp(type, "string") == 0)
        return sample_string(schema);
    if (strcmp(type, "boolean") == 0)
        return json_false();
    if (strcmp(type, "array") == 0)
        return sample_array(root, schema, depth);
    return strcmp(type, "object") == 0 ? sample_object(root, schema, depth) : json_null();
}

static json_t *sample(json_t *root, json_t *schema, int depth) {
    static const char *const alternatives[] = {"anyOf", "oneOf", "allOf"};
    static const char *const choices[] = {"examples", "enum"};
    const char *reference = json_string_value(json_object_get(schema, "$ref"));
    json_t *type = json_object_get(schema, "type"), *value = json_object_get(schema, "default");
    if (depth > DEPTH_MAX)
        return json_null();
    if (value == NULL)
        value = json_object_get(schema, "const");
    for (size_t i = 0; value == NULL && i < sizeof choices / sizeof choices[0]; i++)
        value = json_array_get(json_object_get(schema, choices[i]), 0);
    if (value != NULL)
        return json_deep_copy(value);
    if (reference != NULL)
        return sample(root, resolve(root, reference), depth + 1);
    for (size_t i = 0; i < sizeof alternatives / sizeof alternatives[0]; i++) {
        json_t *first = json_array_get(json_object_get(schema, alternatives[i]), 0);
        if (first != NULL)
            return sample(root, first, depth + 1);
    }
    if (json_is_array(type))
        type = json_array_get(type, 0);
    return json_is_string(type) ? sample_type(root, schema, json_string_value(type), depth) : json_integer(1);
}

json_t *sample_params(json_t *schema) {
    return sample_object(schema, schema, 0);
}
