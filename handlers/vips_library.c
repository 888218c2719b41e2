/* vips_library.c: see vips_library.h. */
#include "handlers/vips_library.h"

#include <dlfcn.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_NAME "libvips.so.42"

struct vips_library vips;

/* POSIX lets a pointer to a function be read through one to an object. */
static bool find(void *library, const char *name, void *function) {
    *(void **)function = dlsym(library, name);
    return *(void **)function != NULL;
}

static bool find_all(void *library) {
    bool all = true;
#define VIPS_FIND(name) all = all && find(library, "vips_" #name, &vips.name);
    VIPS_FUNCTIONS(VIPS_FIND)
#undef VIPS_FIND
    return all && find(library, "g_object_unref", &vips.unref) && find(library, "g_object_ref", &vips.ref) &&
           find(library, "g_signal_connect_data", &vips.connect) && find(library, "g_free", &vips.free) &&
           find(library, "g_strfreev", &vips.free_list);
}

const char *vips_library_open(void) {
    static bool open;
    static char why[300];
    if (open)
        return NULL;
    void *library = dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(why, sizeof why, "libvips is not installed here (%.200s)", dlerror());
        return why;
    }
    setenv("VIPS_WARNING", "0", 1); /* what it warns of is in the fault, or of no interest */
    if (!find_all(library))
        return FILE_NAME " lacks a function: it is older than 8.13";
    int rc = vips.init("offload");
    setlocale(LC_ALL, "C"); /* the numbers in our JSON have a point */
    if (rc != 0)
        return "libvips cannot be started";
    vips.block_untrusted_set(TRUE);
    vips.concurrency_set(1);
    vips.cache_set_max(0);
    open = true;
    return NULL;
}
