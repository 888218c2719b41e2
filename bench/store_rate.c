/* store_rate.c: measures how many submissions a second the store on disk records. A program of its own, with one event
 * loop and the store's thread.
 *
 *     store_rate [--seconds S] [--outstanding N] [--request BYTES] DIRECTORY
 *
 * DIRECTORY must exist, on the disk that will be measured. The program makes a directory in it, and removes that again.
 * N submissions are outstanding at a time (32 by default), and those that arrive together are one commit. With 1 each
 * waits for the one before, and has a commit of its own. The program prints one line of JSON. */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "handlers/host/host.h"
#include "server/store/store.h"

#define MAX_OUTSTANDING 4096

struct bench {
    struct loop *loop;
    struct store *store;
    struct slice request;
    char path[4096];
    unsigned outstanding;
    uint64_t acknowledged, failed;
    int64_t end_ns;
    unsigned flying;
};

struct options {
    unsigned outstanding, request_bytes;
    double seconds;
    const char *directory;
};

static void die(const char *what, const char *why) {
    fprintf(stderr, "store_rate: %s: %s\n", what, why);
    exit(1);
}

/* ---- submitting -------------------------------------------------------------------------------------------------- */

static void on_submitted(void *arg, enum store_result result);

static void submit_one(struct bench *b) {
    struct record *r = record_new();
    if (r == NULL)
        die("record", strerror(ENOMEM));
    r->id = id_new(clock_wall_ms());
    r->type = 0;
    r->options_known = true;
    r->options.priority = 4;
    r->created_ms = clock_wall_ms();
    r->options.ttl_ms = 3600000;
    r->options.timeout_ms = 60000;
    r->options.max_attempts = 3;
    b->flying++;
    b->store->ops->submit(b->store, r, &(struct store_input){.request = b->request}, on_submitted, b);
    record_unref(r);
}

static void on_submitted(void *arg, enum store_result result) {
    struct bench *b = arg;
    b->flying--;
    b->failed += result != STORE_OK;
    b->acknowledged++;
    if (clock_monotonic_ns() < b->end_ns)
        submit_one(b);
}

/* Submissions per second. */
static double measure(struct bench *b, unsigned outstanding, double seconds) {
    int64_t start_ns = clock_monotonic_ns();
    b->acknowledged = 0;
    b->end_ns = start_ns + (int64_t)(seconds * 1e9);
    for (unsigned i = 0; i < outstanding; i++)
        submit_one(b);
    while (b->flying > 0)
        loop_step(b->loop, NS_PER_S);
    if (b->failed > 0)
        die("submit", "the store has not recorded a job");
    return (double)b->acknowledged / ((double)(clock_monotonic_ns() - start_ns) / 1e9);
}

/* ---- the directory ----------------------------------------------------------------------------------------------- */

static void remove_tree(const char *path) {
    DIR *d = opendir(path);
    for (struct dirent *e = d == NULL ? NULL : readdir(d); e != NULL; e = readdir(d)) {
        char name[8192];
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(name) != 0)
            remove_tree(name);
    }
    if (d != NULL)
        closedir(d);
    rmdir(path);
}

static void open_store(struct bench *b) {
    struct buf error = {0};
    b->store = store_sqlite_open(b->loop, b->path, &(struct store_limits){0}, &error);
    if (b->store == NULL)
        die("open", error.data);
}

static void close_store(struct bench *b) {
    b->store->ops->close(b->store);
    b->store = NULL;
}

/* ---- main -------------------------------------------------------------------------------------------------------- */

static void usage(void) {
    fputs("usage: store_rate [--seconds S] [--outstanding N] [--request BYTES] DIRECTORY\n", stderr);
    exit(2);
}

static unsigned number(const char *text, unsigned max) {
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*end != '\0' || end == text || n > max)
        usage();
    return (unsigned)n;
}

static void parse(int argc, char **argv, struct options *o) {
    static const struct option known[] = {{"seconds", required_argument, NULL, 's'},
                                          {"outstanding", required_argument, NULL, 'o'},
                                          {"request", required_argument, NULL, 'b'},
                                          {0}};
    for (int c = getopt_long(argc, argv, "", known, NULL); c != -1; c = getopt_long(argc, argv, "", known, NULL)) {
        switch (c) {
        case 's': o->seconds = strtod(optarg, NULL); break;
        case 'o': o->outstanding = number(optarg, MAX_OUTSTANDING); break;
        case 'b': o->request_bytes = number(optarg, 64 * 1024 * 1024); break;
        default: usage();
        }
    }
    if (optind + 1 != argc || o->outstanding == 0 || o->request_bytes == 0 || !(o->seconds > 0))
        usage();
    o->directory = argv[optind];
}

int main(int argc, char **argv) {
    struct options o = {.outstanding = 32, .request_bytes = 60, .seconds = 1};
    struct bench b = {0};
    parse(argc, argv, &o);
    host_init(false);
    snprintf(b.path, sizeof b.path, "%s/offload-bench-XXXXXX", o.directory);
    if (mkdtemp(b.path) == NULL)
        die(o.directory, strerror(errno));
    char *bytes = calloc(1, o.request_bytes);
    b.loop = loop_new();
    struct blob *request = bytes == NULL ? NULL : blob_copy(bytes, o.request_bytes);
    if (b.loop == NULL || request == NULL)
        die("start", strerror(errno));
    b.request = slice_all(request);
    open_store(&b);
    double rate = measure(&b, o.outstanding, o.seconds);
    close_store(&b);
    remove_tree(b.path);
    printf("{\"submissions_per_s\": %.0f}\n", rate);
    slice_deinit(&b.request);
    loop_free(b.loop);
    free(bytes);
    return 0;
}
