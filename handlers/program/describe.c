/* describe.c: makes handlers from what a program says in its hello (programs_describe of programs.h). All of it is kept
 * until the process ends: a reload has a new zygote. It runs in the zygote. */
#include <stdlib.h>
#include <sys/mman.h>

#include "base/array.h"
#include "handlers/program/program.h"

#define MAX_SUMMARY  200
#define MAX_FILES    1024                /* host_take_described takes so many */
#define MAX_TIMEOUT  (UINT64_C(1) << 40) /* ms */
#define MAX_ATTEMPTS 100

/* One type of a hello, while it is read. */
struct description {
    char name[HOST_MAX_NAME + 2], summary[MAX_SUMMARY + 1];
    struct json_span schema;
    uint64_t timeout_ms, max_attempts;
    bool splits, merges;
};

static int refuse(struct buf *error, const char *source, const char *what, const char *of) {
    buf_printf(error, "%s: %s%s%s", source, what, of[0] == '\0' ? "" : " of the type ", of);
    return -1;
}

/* Seconds, perhaps with a fraction. */
static bool read_timeout(const struct json_span *value, uint64_t *ms) {
    double seconds;
    if (!message_number(value, &seconds) || seconds <= 0 || seconds * 1000 > (double)MAX_TIMEOUT)
        return false;
    *ms = (uint64_t)(seconds * 1000);
    *ms += *ms == 0;
    return true;
}

static bool read_flags(const struct json_span *flags, struct description *d) {
    struct json_span flag;
    const char *at = flags->at == NULL ? NULL : flags->at + 1;
    if (at == NULL)
        return true;
    if (*flags->at != '[')
        return false;
    while (scan_next_element(&at, flags->end, &flag)) {
        char text[16];
        if (!message_text(&flag, text, sizeof text))
            return false;
        d->splits |= strcmp(text, "split") == 0;
        d->merges |= strcmp(text, "merge") == 0;
    }
    return true;
}

static int read_type(const struct json_span *type, const char *source, struct description *d, struct buf *error) {
    const struct json_span name = message_member(type, "name"), summary = message_member(type, "summary"),
                           flags = message_member(type, "flags"), timeout = message_member(type, "timeout"),
                           attempts = message_member(type, "max_attempts");
    memset(d, 0, sizeof *d);
    d->schema = message_member(type, "params");
    if (*type->at != '{' || !message_text(&name, d->name, sizeof d->name))
        return refuse(error, source, "hello: a type has no \"name\"", "");
    if (summary.at != NULL && !message_text(&summary, d->summary, sizeof d->summary))
        return refuse(error, source, "hello: \"summary\" is not a string", d->name);
    if (d->schema.at == NULL || *d->schema.at != '{')
        return refuse(error, source, "hello: \"params\" is not an object", d->name);
    if (!read_flags(&flags, d))
        return refuse(error, source, "hello: \"flags\" is not an array of strings", d->name);
    if (timeout.at != NULL && !read_timeout(&timeout, &d->timeout_ms))
        return refuse(error, source, "hello: \"timeout\" is not a number of seconds above 0", d->name);
    if (attempts.at != NULL &&
        (!message_u64(&attempts, &d->max_attempts) || d->max_attempts < 1 || d->max_attempts > MAX_ATTEMPTS))
        return refuse(error, source, "hello: \"max_attempts\" is not an integer from 1 to 100", d->name);
    return 0;
}

/* A text of these bytes, which is never freed. NULL if memory ran out. */
static char *keep(const struct json_span *text) {
    return strndup(text->at, (size_t)(text->end - text->at));
}

static int add_type(struct program *program, const struct description *d, const char *const *files, struct buf *error) {
    struct program_type *t = calloc(1, sizeof *t);
    struct buf reason = {0};
    /* All workers see one place, because it is made before they are forked. */
    void *shared = mmap(NULL, sizeof *t->cost_ns, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *name = strdup(d->name), *summary = strdup(d->summary), *schema = keep(&d->schema);
    if (t == NULL || shared == MAP_FAILED || name == NULL || summary == NULL || schema == NULL)
        return refuse(error, program->source, "out of memory", "");
    t->program = program;
    t->splits = d->splits;
    t->merges = d->merges;
    t->cost_ns = shared;
    int rc = host_table_from_schema(schema, strlen(schema), program->takes_binary, &t->table, &reason);
    for (const struct param_spec *p = t->table.specs; rc == 0 && p->name != NULL; p++)
        t->takes_bytes |= p->kind == PARAM_BYTES;
    if (rc == 0) {
        t->handler = (struct handler){.abi = HANDLER_ABI,
                                      .name = name,
                                      .summary = summary,
                                      .flags = t->table.flags,
                                      .params = t->table.specs,
                                      .plan = program_plan,
                                      .run = program_run,
                                      .merge = program_merge,
                                      /* A merge is a call, too, and must not come between those of a batch. */
                                      .run_batch = d->merges ? NULL : program_run_batch,
                                      .data = t};
        rc = host_add(&(struct host_type){.handler = &t->handler,
                                          .source = program->source,
                                          .schema = schema,
                                          .marks = d->splits && d->merges ? "split merge"
                                                   : d->splits            ? "split"
                                                   : d->merges            ? "merge"
                                                                          : NULL,
                                          .files = files,
                                          .timeout_ms = (int64_t)d->timeout_ms,
                                          .max_attempts = (unsigned)d->max_attempts},
                      &reason);
    }
    if (rc != 0)
        buf_printf(error, "%s: the type %s: %s", program->source, name,
                   reason.size > 0 ? reason.data : "out of memory");
    buf_deinit(&reason);
    return rc;
}

/* The list of texts, ends with NULL. NULL if there are none, or memory ran out. */
static const char *const *read_files(const struct json_span *sources) {
    const char **files = NULL;
    size_t count = 0, room = 0;
    struct json_span file;
    const char *at = sources->at == NULL ? NULL : sources->at + 1;
    while (at != NULL && count < MAX_FILES && scan_next_element(&at, sources->end, &file)) {
        char path[4096];
        if (!message_text(&file, path, sizeof path) || GROW_ARRAY(&files, count + 1, &room) != 0)
            continue;
        files[count] = strdup(path);
        count += files[count] != NULL;
        files[count] = NULL;
    }
    return files;
}

int programs_describe(unsigned program, const char *source, int64_t timeout_ns, const struct message *hello,
                      struct buf *error) {
    struct program *p = calloc(1, sizeof *p);
    struct json_span type;
    struct description d;
    const char *at = hello->types.at == NULL ? NULL : hello->types.at + 1;
    size_t count = 0;
    if (p == NULL)
        return refuse(error, source, "out of memory", "");
    p->source = source;
    p->cancel_signal = hello->cancel_signal;
    p->takes_binary = hello->takes_binary;
    p->process = process_open(program, timeout_ns);
    const char *const *files = read_files(&hello->sources);
    for (; at != NULL && scan_next_element(&at, hello->types.end, &type); count++)
        if (read_type(&type, source, &d, error) != 0 || add_type(p, &d, files, error) != 0)
            return -1;
    return count > 0 ? 0 : refuse(error, source, "it offers no job types", "");
}
