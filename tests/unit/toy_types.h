/* toy_types.h: a registry for the tests of handlers/host, which replaces handlers/host/registry.c: the linker takes the
 * functions below and leaves registry.o in the archive. It has two types. The table of "shape" has every kind of
 * parameter and two forms. "plain" has no parameters, and tests set its functions. */
#ifndef OFFLOAD_TESTS_TOY_TYPES_H
#define OFFLOAD_TESTS_TOY_TYPES_H

#include "handlers/host/registry.h"

enum { TOY_SHAPE, TOY_PLAIN, TOY_TYPES };

static const char *const toy_forms[] = {"range", "list", NULL};
static const char *const toy_ops[] = {"count", "list", NULL};
static const struct param_spec toy_shape_params[] = {
    {"start", PARAM_INTEGER, PARAM_REQUIRED, 1, .help = "the first one"},
    {"stop", PARAM_INTEGER, PARAM_REQUIRED, 1, "0", "18446744073709551615", .help = "the one after the last"},
    {"step", PARAM_INTEGER, 0, 1, "-1000", "1000", .fallback = "1"},
    {"numbers", PARAM_NUMBERS, PARAM_REQUIRED, 2},
    {"reals", PARAM_NUMBERS, PARAM_REALS, 2},
    {"op", PARAM_ENUM, 0, 0, .fallback = "\"count\"", .choices = toy_ops},
    {"exact", PARAM_BOOLEAN, 0, 0, .fallback = "true"},
    {"name", PARAM_TEXT},
    {"lines", PARAM_TEXTS},
    {"any", PARAM_JSON},
    {0},
};

static const struct handler toy_shape = {.abi = HANDLER_ABI,
                                         .name = "shape",
                                         .summary = "Has every kind of parameter",
                                         .forms = toy_forms,
                                         .params = toy_shape_params};
static struct handler toy_plain = {
    .abi = HANDLER_ABI, .name = "plain", .summary = "Has no parameters", .flags = HANDLER_TEST};

static inline struct params_table *toy_tables(void) {
    static struct params_table tables[TOY_TYPES];
    if (tables[0].handler == NULL) {
        struct buf error = {0};
        assert_int_equal(params_table_init(&tables[TOY_SHAPE], &toy_shape, &error), 0);
        assert_int_equal(params_table_init(&tables[TOY_PLAIN], &toy_plain, &error), 0);
    }
    return tables;
}

const struct params_table *registry_table(size_t type) {
    return type < TOY_TYPES ? &toy_tables()[type] : NULL;
}

const struct handler *host_handler(size_t type) {
    return type < TOY_TYPES ? toy_tables()[type].handler : NULL;
}

const struct host_type *host_type(size_t type) {
    static struct host_type types[TOY_TYPES];
    if (type >= TOY_TYPES)
        return NULL;
    types[type] = (struct host_type){.handler = host_handler(type), .source = "builtin"};
    return &types[type];
}

const char *host_name(size_t type) {
    return type < TOY_TYPES ? toy_tables()[type].handler->name : NULL;
}

void registry_init_options(size_t type, struct submission_options *o) {
    (void)type;
    options_init(o);
}

size_t host_count(void) {
    return TOY_TYPES;
}

int host_find(const char *name) {
    return strcmp(name, "shape") == 0 ? TOY_SHAPE : strcmp(name, "plain") == 0 ? TOY_PLAIN : -1;
}

bool host_is_hidden(size_t type) {
    (void)type;
    return false;
}

size_t registry_counter(const struct handler *handler, unsigned counter) {
    (void)handler;
    (void)counter;
    return SIZE_MAX;
}

bool registry_is_builtin(size_t type) {
    return type < TOY_TYPES;
}

int host_known(const char *name) {
    return host_find(name);
}

#endif
