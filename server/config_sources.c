/* config_sources.c: see config_sources.h. Front end, at start-up and on SIGHUP.
 *
 * --python tasks.py is the program `python3 -m offload tasks.py`, with the directory of the package `offload` in front
 * of its PYTHONPATH: $PREFIX/share/offload/python of an installed offloadd, or sdk/python beside the build directory. */
#include "server/config_sources.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wordexp.h>

#include "base/array.h"

struct listing {
    struct pool_sources *to;
    struct arena *memory;
    struct buf *error;
    const char **plugins;
    size_t plugin_room;
    struct program_source *programs;
    size_t program_room;
};

static int out_of_memory(struct listing *l) {
    buf_puts(l->error, "out of memory");
    return -1;
}

static const char *keep(struct listing *l, const char *text) {
    return arena_text(l->memory, text, strlen(text));
}

/* ---- plugins ----------------------------------------------------------------------------------------------------- */

static int add_plugin(struct listing *l, const char *path) {
    if (GROW_ARRAY(&l->plugins, l->to->plugin_count, &l->plugin_room) != 0)
        return out_of_memory(l);
    l->plugins[l->to->plugin_count++] = path;
    return 0;
}

static int is_plugin(const struct dirent *e) {
    return fnmatch("*.so", e->d_name, 0) == 0;
}

static int compare_names(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_directory(struct listing *l, const char *path) {
    struct dirent **entries;
    int count = scandir(path, &entries, is_plugin, compare_names), rc = 0;
    if (count < 0) {
        buf_printf(l->error, "--plugin-dir %s: %s", path, strerror(errno));
        return -1;
    }
    for (int i = 0; i < count; i++) {
        struct buf file = {0};
        buf_printf(&file, "%s/%s", path, entries[i]->d_name);
        const char *kept = file.failed ? NULL : keep(l, file.data);
        if (rc == 0)
            rc = kept == NULL ? out_of_memory(l) : add_plugin(l, kept);
        buf_deinit(&file);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

/* ---- programs ---------------------------------------------------------------------------------------------------- */

/* Takes argv and env, which are in the arena. kind: "program" or "python". */
static int add_program(struct listing *l, const char *const *argv, const char *const *env, const char *kind,
                       const char *text, enum program_start start) {
    struct buf source = {0};
    buf_printf(&source, "%s:%s", kind, text);
    const char *kept = source.failed ? NULL : keep(l, source.data);
    buf_deinit(&source);
    if (kept == NULL || argv == NULL || env == NULL || l->memory->failed ||
        GROW_ARRAY(&l->programs, l->to->program_count, &l->program_room) != 0)
        return out_of_memory(l);
    l->programs[l->to->program_count++] =
        (struct program_source){.argv = argv, .env = env, .source = kept, .start = start};
    return 0;
}

static const char *const *keep_words(struct listing *l, size_t count, const char *const *words) {
    const char **list = arena_take(l->memory, (count + 1) * sizeof *list);
    for (size_t i = 0; list != NULL && i < count; i++)
        list[i] = keep(l, words[i]);
    return list;
}

static const char *why_no_words(int error) {
    switch (error) {
    case WRDE_BADCHAR:
        return "it has a character that means something to a shell: | & ; < > ( ) { } or a newline; quote it";
    case WRDE_BADVAL: return "it has a variable that is not set";
    case WRDE_CMDSUB: return "commands in it are not executed";
    case WRDE_SYNTAX: return "a quote is not closed";
    default: return "out of memory";
    }
}

static int add_command(struct listing *l, const char *command) {
    static const char *const none[] = {NULL};
    wordexp_t words;
    int error = wordexp(command, &words, WRDE_NOCMD | WRDE_UNDEF);
    if (error != 0) {
        buf_printf(l->error, "--program \"%s\": %s", command, why_no_words(error));
        return -1;
    }
    int rc = -1;
    if (words.we_wordc == 0)
        buf_puts(l->error, "--program: the command is empty");
    else
        rc = add_program(l, keep_words(l, words.we_wordc, (const char *const *)words.we_wordv), none, "program",
                         command, PROGRAM_AUTO);
    wordfree(&words);
    return rc;
}

/* ---- Python ------------------------------------------------------------------------------------------------------ */

/* Where the package is: beside this program, as it is built or as it is installed. */
static void find_package(struct buf *path) {
    static const char *const places[] = {"/../share/offload/python", "/../sdk/python"};
    char self[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    for (size_t i = 0; size > 0 && i < sizeof places / sizeof places[0]; i++) {
        char *slash = memrchr(self, '/', (size_t)size);
        struct buf probe = {0};
        buf_clear(path);
        buf_printf(path, "%.*s%s", (int)(slash - self), self, places[i]);
        buf_printf(&probe, "%s/offload/__main__.py", path->failed ? "" : path->data);
        bool there = !probe.failed && access(probe.data, R_OK) == 0;
        buf_deinit(&probe);
        if (there)
            return;
    }
    buf_clear(path);
}

/* "PYTHONPATH=<package>:<what it was>". Without the package there is nothing to add: it may be installed for Python. */
static const char *const *python_env(struct listing *l) {
    struct buf path = {0}, line = {0};
    const char **env = arena_take(l->memory, 2 * sizeof *env), *before = getenv("PYTHONPATH");
    find_package(&path);
    bool has_before = before != NULL && before[0] != '\0';
    if (path.size > 0)
        buf_printf(&line, "PYTHONPATH=%s%s%s", path.data, has_before ? ":" : "", has_before ? before : "");
    if (env != NULL && line.size > 0)
        env[0] = keep(l, line.data);
    l->memory->failed |= path.failed || line.failed;
    buf_deinit(&path);
    buf_deinit(&line);
    return env;
}

static int add_python(struct listing *l, const struct config *c, const char *spec) {
    if (spec[0] == '\0') {
        buf_puts(l->error, "--python: a file or a module is wanted");
        return -1;
    }
    const char *const words[] = {c->python_bin, "-m", "offload", spec};
    return add_program(l, keep_words(l, 4, words), python_env(l), "python", spec, c->python_start);
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static int list_all(struct listing *l, const struct config *c) {
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < c->plugin.count; i++)
        rc = add_plugin(l, c->plugin.at[i]);
    for (unsigned i = 0; rc == 0 && i < c->plugin_dir.count; i++)
        rc = add_directory(l, c->plugin_dir.at[i]);
    for (unsigned i = 0; rc == 0 && i < c->program.count; i++)
        rc = add_command(l, c->program.at[i]);
    for (unsigned i = 0; rc == 0 && i < c->python.count; i++)
        rc = add_python(l, c, c->python.at[i]);
    return rc;
}

/* Moves an array of the heap into the arena. */
static void *take_array(struct listing *l, void *from, size_t size) {
    void *copy = arena_take(l->memory, size == 0 ? 1 : size);
    if (copy != NULL && size > 0)
        memcpy(copy, from, size);
    free(from);
    return copy;
}

int config_sources(const struct config *c, struct pool_sources *s, struct arena *memory, struct buf *error) {
    struct listing l = {.to = s, .memory = memory, .error = error};
    memset(s, 0, sizeof *s);
    s->load_timeout_ns = c->load_timeout_ns;
    int rc = list_all(&l, c);
    s->plugins = take_array(&l, l.plugins, s->plugin_count * sizeof *l.plugins);
    s->programs = take_array(&l, l.programs, s->program_count * sizeof *l.programs);
    return rc == 0 && memory->failed ? out_of_memory(&l) : rc;
}
