/* process.c: the test types "process" and "spawned": which processes did this job? Both do the same, but "spawned" must
 * not be forked after load. The pids are those of the service's own namespace. They run in workers; load of "process"
 * runs in the zygote.
 *
 * If the environment variable OFFLOAD_TEST_SPAWNED_NEEDS names a file, load of "spawned" reads it to its end. So tests
 * can make a start fail, with a file that does not exist, or hang, with a FIFO. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handlers/handler.h"

struct where {
    uint32_t loaded_in, run_in, parent;
};

static pid_t loaded_in; /* is set once, by load */

static int load_process(void) {
    loaded_in = getpid();
    return 0;
}

static int load_spawned(void) {
    const char *path = getenv("OFFLOAD_TEST_SPAWNED_NEEDS");
    FILE *f = path == NULL ? NULL : fopen(path, "re");
    if (path != NULL && f == NULL) {
        dprintf(STDERR_FILENO, "spawned: %s: %s\n", path, strerror(errno));
        return -1;
    }
    while (f != NULL && fgetc(f) != EOF)
        continue;
    if (f != NULL)
        fclose(f);
    return load_process();
}

static int process_plan(struct call *c, const struct params *p) {
    (void)p;
    unsigned chunks = plan_wanted_chunks(c) > 0 ? plan_wanted_chunks(c) : 1;
    for (unsigned i = 0; i < chunks; i++)
        if (plan_chunk(c, NULL, 0, HANDLER_CHUNK_NS / 1000) < 0)
            return -1;
    return 0;
}

static struct where here(void) {
    return (struct where){(uint32_t)loaded_in, (uint32_t)getpid(), (uint32_t)getppid()};
}

static int process_run(struct call *c, struct bytes common, struct bytes chunk) {
    (void)common, (void)chunk;
    struct where w = here();
    return part_write(c, &w, sizeof w);
}

static void put_where(struct call *c, const struct where *w) {
    json_begin_object(c);
    json_name(c, "loaded_in");
    json_u64(c, w->loaded_in);
    json_name(c, "run_in");
    json_u64(c, w->run_in);
    json_name(c, "parent");
    json_u64(c, w->parent);
    json_end_object(c);
}

static int process_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common;
    struct where w;
    json_begin_object(c);
    json_name(c, "chunks");
    json_begin_array(c);
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size != sizeof w)
            return call_fail(c, CALL_FAILED, NULL, "part %zu is damaged", i);
        memcpy(&w, parts[i].data, sizeof w);
        put_where(c, &w);
    }
    json_end_array(c);
    json_name(c, "merge");
    w = here();
    put_where(c, &w);
    json_end_object(c);
    return 0;
}

static const struct param_spec process_params[] = {{0}};

const struct handler handler_process = {.abi = HANDLER_ABI,
                                        .name = "process",
                                        .summary = "Tell which processes did it",
                                        .flags = HANDLER_TEST,
                                        .params = process_params,
                                        .load = load_process,
                                        .plan = process_plan,
                                        .run = process_run,
                                        .merge = process_merge};

const struct handler handler_spawned = {.abi = HANDLER_ABI,
                                        .name = "spawned",
                                        .summary = "Tell which processes did it, none of which was forked after load",
                                        .flags = HANDLER_TEST | HANDLER_SPAWN,
                                        .params = process_params,
                                        .load = load_spawned,
                                        .plan = process_plan,
                                        .run = process_run,
                                        .merge = process_merge};
