/* registry.c: the list of job types. A new handler needs a line in it.
 *
 * It runs in every process of the service. A type has the same number in all of them, because they all run this program
 * and call host_init with the same argument. */
#include "handlers/host/registry.h"

#include <stdio.h>
#include <stdlib.h>

/* HANDLER(name) stands for handler_name, which is in handlers/name.c but for handler_spawned. From echo on they are
 * test types. */
#define ALL_HANDLERS                                                                                                   \
    HANDLER(primes)                                                                                                    \
    HANDLER(sum)                                                                                                       \
    HANDLER(embeddings)                                                                                                \
    HANDLER(echo)                                                                                                      \
    HANDLER(collatz)                                                                                                   \
    HANDLER(sleep)                                                                                                     \
    HANDLER(burn)                                                                                                      \
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

static struct params_table tables[HANDLERS];
static size_t count;

void host_init(bool test_types) {
    count = 0;
    for (size_t i = 0; i < HANDLERS; i++) {
        const struct handler *h = all_handlers[i];
        if (h->abi != HANDLER_ABI) {
            fprintf(stderr, "handler %s was made for ABI %u, not %u\n", h->name, h->abi, (unsigned)HANDLER_ABI);
            abort();
        }
        if (test_types || (h->flags & HANDLER_TEST) == 0)
            params_table_init(&tables[count++], h);
    }
}

size_t host_count(void) {
    return count;
}

const struct params_table *registry_table(size_t type) {
    return type < count ? &tables[type] : NULL;
}

const struct handler *host_handler(size_t type) {
    return type < count ? tables[type].handler : NULL;
}

int host_find(const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(tables[i].handler->name, name) == 0)
            return (int)i;
    return -1;
}

int host_load_type(size_t type) {
    const struct handler *h = host_handler(type);
    if (h == NULL)
        return -1;
    return h->load == NULL ? 0 : h->load();
}

int host_load(const char **failed) {
    for (size_t i = 0; i < count; i++) {
        const struct handler *h = tables[i].handler;
        if ((h->flags & HANDLER_SPAWN) == 0 && host_load_type(i) != 0) {
            *failed = h->name;
            return -1;
        }
    }
    return 0;
}
