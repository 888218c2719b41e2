/* plugins.c: opens plugins and adds their job types (host.h). A plugin is a shared object of somebody else, which has
 * been built against the installed handler.h (docs/plugins.md).
 *
 * It runs in the zygote; and in a worker that is executed anew for a type of a plugin with HANDLER_SPAWN. */
#include <dlfcn.h>
#include <string.h>

#include "handlers/host/host.h"

#define SYMBOL "offload_handlers"

static int add_all(const char *source, const char *path, const struct handler *const *handlers, struct buf *error) {
    const char *files[] = {path, NULL};
    if (handlers[0] == NULL) {
        buf_printf(error, "%s: %s is empty", source, SYMBOL);
        return -1;
    }
    for (; *handlers != NULL; handlers++) {
        const struct host_type t = {.handler = *handlers, .source = source, .files = files};
        if (host_add(&t, error) != 0)
            return -1;
    }
    return 0;
}

/* dlopen searches the libraries of the system for a name without a slash. */
static void write_place(struct buf *to, const char *path) {
    buf_printf(to, "%s%s", strchr(path, '/') == NULL ? "./" : "", path);
}

/* The loader begins most of its messages with the path, which is in the source already. */
static const char *reason(const char *place) {
    const char *why = dlerror();
    if (why == NULL)
        return "it cannot be opened";
    size_t size = strlen(place);
    return strncmp(why, place, size) == 0 && strncmp(why + size, ": ", 2) == 0 ? why + size + 2 : why;
}

int plugin_load(const char *path, struct buf *error) {
    struct buf source = {0}, place = {0};
    int rc = -1;
    buf_printf(&source, "plugin:%s", path);
    write_place(&place, path);
    void *object = source.failed || place.failed ? NULL : dlopen(place.data, RTLD_NOW | RTLD_LOCAL);
    const struct handler *const *handlers = object == NULL ? NULL : dlsym(object, SYMBOL);
    if (source.failed || place.failed)
        buf_puts(error, "out of memory");
    else if (object == NULL)
        buf_printf(error, "%s: %s", source.data, reason(place.data));
    else if (handlers == NULL)
        buf_printf(error, "%s: it has no %s, so it is no plugin", source.data, SYMBOL);
    else
        rc = add_all(source.data, place.data, handlers, error);
    buf_deinit(&place);
    buf_deinit(&source);
    return rc;
}

int plugins_load(const char *const *paths, size_t count, void (*loading)(const char *source), struct buf *error) {
    for (size_t i = 0; i < count; i++) {
        struct buf source = {0};
        buf_printf(&source, "plugin:%s", paths[i]);
        if (loading != NULL && !source.failed)
            loading(source.data);
        buf_deinit(&source);
        if (plugin_load(paths[i], error) != 0)
            return -1;
    }
    return 0;
}
