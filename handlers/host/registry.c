/* registry.c: the list of job types: those that are built in, and those that are added when the process starts. A new
 * handler of offload itself needs a line here.
 *
 * It runs in every process of the service. A type has the same number in all of them: all begin with the types that are
 * built in, and the other numbers are given by the front end, or by a zygote that knows those of the front end.
 *
 * Names are read by the store's thread, too: a name is written before `count` counts it, and never changed. */
#include "handlers/host/registry.h"

#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* HANDLER(name) stands for handler_name, which is in handlers/name.c but for handler_spawned. From echo on they are
 * test types. */
#define ALL_HANDLERS                                                                                                   \
    HANDLER(primes)                                                                                                    \
    HANDLER(sum)                                                                                                       \
    HANDLER(embeddings)                                                                                                \
    HANDLER(image)                                                                                                     \
    HANDLER(array)                                                                                                     \
    HANDLER(inflate)                                                                                                   \
    HANDLER(deflate)                                                                                                   \
    HANDLER(embeddings_openai)                                                                                         \
    HANDLER(echo)                                                                                                      \
    HANDLER(collatz)                                                                                                   \
    HANDLER(sleep)                                                                                                     \
    HANDLER(burn)                                                                                                      \
    HANDLER(bytes)                                                                                                     \
    HANDLER(crash)                                                                                                     \
    HANDLER(report)                                                                                                    \
    HANDLER(process)                                                                                                   \
    HANDLER(spawned)

#define HANDLER(name) extern const struct handler handler_##name;
ALL_HANDLERS
#undef HANDLER

#define HANDLER(name) &handler_##name,
static const struct handler *const all_handlers[] = {ALL_HANDLERS};
#undef HANDLER

enum { HANDLERS = sizeof all_handlers / sizeof all_handlers[0] };
_Static_assert(HANDLERS <= HOST_MAX_TYPES, "each has a number");

static struct registered *types[HOST_MAX_TYPES]; /* NULL: a hole */
static char *names[HOST_MAX_TYPES];
static atomic_size_t count;
static pthread_mutex_t naming = PTHREAD_MUTEX_INITIALIZER; /* one thread at a time adds a name */

/* ---- counters ---------------------------------------------------------------------------------------------------- */

/* Types can have the same counters. */
static bool counters_are_new(size_t h) {
    for (size_t before = 0; before < h; before++)
        if (all_handlers[before]->counters == all_handlers[h]->counters)
            return false;
    return all_handlers[h]->counters != NULL;
}

const struct handler_counter *host_counter(size_t i) {
    for (size_t h = 0; h < HANDLERS; h++)
        for (const struct handler_counter *c = all_handlers[h]->counters; counters_are_new(h) && c->name != NULL; c++)
            if (i-- == 0)
                return c;
    return NULL;
}

/* It is asked for each text of a job, mostly about the type of the text before. */
size_t registry_counter(const struct handler *handler, unsigned counter) {
    static const struct handler_counter *known;
    static size_t first, its_count;
    if (handler->counters == NULL)
        return SIZE_MAX;
    if (handler->counters != known) {
        const struct handler_counter *at;
        first = 0;
        while ((at = host_counter(first)) != NULL && at != handler->counters)
            first++;
        for (its_count = 0; at != NULL && at[its_count].name != NULL;)
            its_count++;
        known = handler->counters;
    }
    return counter < its_count ? first + counter : SIZE_MAX;
}

/* ---- names and numbers ------------------------------------------------------------------------------------------- */

size_t host_count(void) {
    return atomic_load_explicit(&count, memory_order_acquire);
}

const char *host_name(size_t type) {
    return type < host_count() ? names[type] : NULL;
}

bool registry_is_name(const char *name) {
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");
    return size > 0 && size <= HOST_MAX_NAME && name[size] == '\0' && islower((unsigned char)name[0]);
}

int host_known(const char *name) {
    size_t n = host_count();
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

static int add_name(const char *name) {
    size_t n = host_count();
    char *copy = n < HOST_MAX_TYPES ? strdup(name) : NULL;
    if (copy == NULL)
        return -1;
    names[n] = copy;
    atomic_store_explicit(&count, n + 1, memory_order_release);
    return (int)n;
}

int host_number(const char *name) {
    int type = host_known(name);
    if (type >= 0 || !registry_is_name(name))
        return type;
    pthread_mutex_lock(&naming);
    type = host_known(name);
    if (type < 0)
        type = add_name(name);
    pthread_mutex_unlock(&naming);
    return type;
}

/* ---- types ------------------------------------------------------------------------------------------------------- */

void registered_free(struct registered *r) {
    if (r == NULL)
        return;
    arena_deinit(&r->memory);
    free(r);
}

void registry_put(size_t type, struct registered *r) {
    registered_free(types[type]);
    types[type] = r;
}

static struct registered *get(size_t type) {
    return type < host_count() ? types[type] : NULL;
}

bool registry_is_described(size_t type) {
    const struct registered *r = get(type);
    return r != NULL && r->described;
}

bool registry_is_builtin(size_t type) {
    const struct registered *r = get(type);
    return r != NULL && r->builtin;
}

const struct params_table *registry_table(size_t type) {
    const struct registered *r = get(type);
    return r == NULL ? NULL : &r->table;
}

const struct host_type *host_type(size_t type) {
    const struct registered *r = get(type);
    return r == NULL ? NULL : &r->type;
}

const struct handler *host_handler(size_t type) {
    const struct registered *r = get(type);
    return r == NULL ? NULL : r->type.handler;
}

bool host_is_hidden(size_t type) {
    const struct handler *h = host_handler(type);
    return h != NULL && (h->flags & HANDLER_HIDDEN) != 0;
}

int host_find(const char *name) {
    int type = host_known(name);
    return type >= 0 && types[type] != NULL && !host_is_hidden((size_t)type) ? type : -1;
}

void registry_init_options(size_t type, struct submission_options *o) {
    const struct host_type *t = host_type(type);
    options_init(o);
    if (t != NULL && t->timeout_ms > 0)
        o->timeout_ms = t->timeout_ms;
    if (t != NULL && t->max_attempts > 0)
        o->max_attempts = (int32_t)t->max_attempts;
}

static const char *keep(struct arena *a, const char *text) {
    return text == NULL ? NULL : arena_text(a, text, strlen(text));
}

static const char *const *keep_list(struct arena *a, const char *const *list) {
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    const char **copy = n == 0 ? NULL : arena_take(a, (n + 1) * sizeof *copy);
    for (size_t i = 0; copy != NULL && i < n; i++)
        copy[i] = keep(a, list[i]);
    return copy;
}

/* The parameter by which a result is chosen has a choice for each of them. */
static bool results_match(const struct handler *h) {
    const struct param_spec *p = h->params;
    size_t results = 0, choices = 0;
    if (h->result_param == NULL)
        return true;
    while (p != NULL && p->name != NULL && strcmp(p->name, h->result_param) != 0)
        p++;
    if (p == NULL || p->name == NULL || p->kind != PARAM_ENUM || p->choices == NULL || h->results == NULL)
        return false;
    while (h->results[results] != NULL)
        results++;
    while (p->choices[choices] != NULL)
        choices++;
    return choices == results || choices == results + 1;
}

/* What can be wrong with a handler beside its table. */
static int check_handler(const struct registered *r, const struct host_type *t, struct buf *error) {
    const struct handler *h = t->handler;
    if (h->abi != HANDLER_ABI) /* all else can be elsewhere */
        buf_printf(error, "it was built for ABI %u of handler.h, and this offloadd has ABI %u", h->abi,
                   (unsigned)HANDLER_ABI);
    else if (h->name == NULL || !registry_is_name(h->name))
        buf_printf(error, "\"%.80s\" cannot be the name of a job type: [a-z][a-z0-9_-]*, at most %d bytes",
                   h->name == NULL ? "" : h->name, HOST_MAX_NAME);
    else if (h->summary == NULL)
        buf_printf(error, "the job type %s has no summary", h->name);
    else if (!r->described && (h->plan == NULL || h->run == NULL || h->merge == NULL))
        buf_printf(error, "the job type %s lacks plan, run or merge", h->name);
    else if ((h->flags & HANDLER_OPEN_PARAMS) != 0 && (h->flags & HANDLER_WHOLE_PARAMS) == 0)
        buf_printf(error, "the job type %s has HANDLER_OPEN_PARAMS without HANDLER_WHOLE_PARAMS", h->name);
    else if (!results_match(h))
        buf_printf(error, "the job type %s: result_param is no parameter with a choice for each of its results",
                   h->name);
    else
        return 0;
    return -1;
}

/* As the client's options. */
static int check_defaults(const struct host_type *t, struct buf *error) {
    for (const struct option_spec *spec = option_specs; spec->name != NULL; spec++) {
        bool is_timeout = strcmp(spec->name, "timeout_ms") == 0;
        if (!is_timeout && strcmp(spec->name, "max_attempts") != 0)
            continue;
        int64_t value = is_timeout ? t->timeout_ms : (int64_t)t->max_attempts;
        if (value == 0 || option_clamp(spec, value) == value)
            continue;
        buf_printf(error, "the job type %s: %s is not from %lld to %lld", t->handler->name, spec->name,
                   (long long)spec->min, (long long)spec->max);
        return -1;
    }
    return 0;
}

int registered_fill(struct registered *r, const struct host_type *t, struct buf *error) {
    if (check_handler(r, t, error) != 0 || check_defaults(t, error) != 0 ||
        params_table_init(&r->table, t->handler, error) != 0)
        return -1;
    r->type = *t;
    r->type.source = keep(&r->memory, t->source == NULL ? "" : t->source);
    r->type.schema = keep(&r->memory, t->schema);
    r->type.marks = keep(&r->memory, t->marks);
    r->type.files = keep_list(&r->memory, t->files);
    if (r->memory.failed)
        buf_puts(error, "out of memory");
    return r->memory.failed ? -1 : 0;
}

/* The number that a new type of this name gets. -1 with a line in `error`. */
static int free_number(const char *name, struct buf *error) {
    const struct host_type *other = host_type((size_t)host_known(name));
    if (other != NULL) {
        buf_printf(error, "%s has a job type \"%s\", too", other->source, name);
        return -1;
    }
    int type = host_number(name);
    if (type < 0 && host_count() == HOST_MAX_TYPES)
        buf_printf(error, "there are more than %d job types", HOST_MAX_TYPES);
    else if (type < 0)
        buf_puts(error, "out of memory");
    return type;
}

static int add(const struct host_type *t, bool builtin, struct buf *error) {
    struct registered *r = calloc(1, sizeof *r);
    if (r == NULL) {
        buf_puts(error, "out of memory");
        return -1;
    }
    int type = registered_fill(r, t, error) == 0 ? free_number(t->handler->name, error) : -1;
    if (type < 0) {
        registered_free(r);
        return -1;
    }
    r->builtin = builtin;
    registry_put((size_t)type, r);
    return 0;
}

int host_add(const struct host_type *t, struct buf *error) {
    struct buf why = {0};
    int rc = add(t, false, &why);
    if (rc != 0)
        buf_printf(error, "%s: %s", t->source, why.data == NULL || why.failed ? "out of memory" : why.data);
    buf_deinit(&why);
    return rc;
}

void host_init(bool test_types) {
    for (size_t i = 0; i < host_count(); i++) {
        registry_put(i, NULL);
        free(names[i]);
    }
    atomic_store(&count, 0);
    for (size_t i = 0; i < HANDLERS; i++) {
        const struct host_type t = {.handler = all_handlers[i], .source = "builtin"};
        struct buf error = {0};
        if ((!test_types && (t.handler->flags & HANDLER_TEST) != 0) || add(&t, true, &error) == 0)
            continue;
        if (error.data == NULL || strcmp(error.data, "out of memory") == 0) {
            fputs("offloadd: out of memory\n", stderr);
            exit(EXIT_FAILURE);
        }
        fprintf(stderr, "handler %s: %s\n", t.handler->name, error.data);
        abort(); /* a bug in the handler, which shows at every start */
    }
}

/* ---- load -------------------------------------------------------------------------------------------------------- */

int host_load_type(size_t type) {
    const struct handler *h = host_handler(type);
    if (h == NULL)
        return -1;
    return h->load == NULL ? 0 : h->load();
}

int host_load(void (*loading)(const char *source), struct buf *error) {
    for (size_t i = 0; i < host_count(); i++) {
        const struct host_type *t = host_type(i);
        if (t == NULL || (t->handler->flags & HANDLER_SPAWN) != 0 || t->handler->load == NULL)
            continue;
        if (loading != NULL)
            loading(t->source);
        if (host_load_type(i) == 0)
            continue;
        if (types[i]->builtin)
            buf_printf(error, "the handler \"%s\" could not be loaded", t->handler->name);
        else
            buf_printf(error, "%s: the load of the job type %s failed", t->source, t->handler->name);
        return -1;
    }
    return 0;
}
