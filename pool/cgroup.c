/* cgroup.c: see cgroup.h. Front end and zygote. /proc/self/cgroup names our group in each hierarchy.
 * /proc/self/mountinfo says where each hierarchy is mounted, and which group that mount shows as its root (in a
 * container, usually our own). */
#include "pool/cgroup.h"

#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct group {
    char mount[512]; /* the directory that shows the hierarchy, or the part of it that we can see */
    char path[512];  /* our group below it: "" or "/a/b" */
    bool v2;
};

/* True if the comma-separated list has the word. */
static bool list_has(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += n)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || at[n] == '\0'))
            return true;
    return false;
}

/* Our group in the hierarchy of `controller` (v1), or in the unified one (controller NULL). */
static bool read_own_path(const char *controller, char *path, size_t size) {
    char line[1024];
    bool found = false;
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (f == NULL)
        return false;
    while (!found && fgets(line, sizeof line, f) != NULL) {
        char *list = strchr(line, ':');
        char *own = list == NULL ? NULL : strchr(list + 1, ':');
        if (own == NULL)
            continue;
        *own++ = '\0';
        own[strcspn(own, "\n")] = '\0';
        found = controller == NULL ? list[1] == '\0' : list_has(list + 1, controller);
        if (found)
            snprintf(path, size, "%s", own);
    }
    fclose(f);
    return found;
}

/* Where the hierarchy is mounted, and which group that mount shows as its root. A line of mountinfo, see proc(5):
 * "id parent dev ROOT MOUNT options ... - TYPE source SUPER". */
static bool find_mount(const char *controller, char mount[512], char root[512]) {
    char line[2048], type[32], super[512];
    bool found = false;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (f == NULL)
        return false;
    while (!found && fgets(line, sizeof line, f) != NULL) {
        const char *tail = strstr(line, " - ");
        if (tail == NULL || sscanf(tail, " - %31s %*s %511s", type, super) != 2)
            continue;
        bool suits = controller == NULL ? strcmp(type, "cgroup2") == 0
                                        : strcmp(type, "cgroup") == 0 && list_has(super, controller);
        found = suits && sscanf(line, "%*d %*d %*s %511s %511s", root, mount) == 2;
    }
    fclose(f);
    return found;
}

static bool find_group(const char *controller, struct group *g) {
    char own[512], root[512];
    g->v2 = controller == NULL;
    if (!read_own_path(controller, own, sizeof own) || !find_mount(controller, g->mount, root))
        return false;
    size_t n = strlen(root);
    if (strcmp(root, "/") == 0)
        n = 0;
    /* Outside what the mount shows: its root is the best we can see. */
    bool below = strncmp(own, root, n) == 0 && (own[n] == '/' || own[n] == '\0');
    snprintf(g->path, sizeof g->path, "%s", !below || strcmp(own + n, "/") == 0 ? "" : own + n);
    return true;
}

static bool read_file(const struct group *g, const char *name, char *text, size_t size) {
    char path[1200];
    snprintf(path, sizeof path, "%s%s/%s", g->mount, g->path, name);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    size_t n = fread(text, 1, size - 1, f);
    text[n] = '\0';
    fclose(f);
    return n > 0;
}

static double cpu_limit_here(const struct group *g) {
    char text[128];
    double quota = 0, period = 0;
    if (g->v2) {
        if (!read_file(g, "cpu.max", text, sizeof text) || sscanf(text, "%lf %lf", &quota, &period) != 2)
            return 0;
    } else {
        if (!read_file(g, "cpu.cfs_quota_us", text, sizeof text) || sscanf(text, "%lf", &quota) != 1)
            return 0;
        if (!read_file(g, "cpu.cfs_period_us", text, sizeof text) || sscanf(text, "%lf", &period) != 1)
            return 0;
    }
    return quota > 0 && period > 0 ? quota / period : 0;
}

static double memory_limit_here(const struct group *g) {
    char text[128];
    double bytes = 0;
    if (!read_file(g, g->v2 ? "memory.max" : "memory.limit_in_bytes", text, sizeof text))
        return 0;
    /* v1 writes "no limit" as a number near 2^63. */
    return sscanf(text, "%lf", &bytes) == 1 && bytes < 9e18 ? bytes : 0;
}

/* The least limit of our group and of all above it, up to the mount; 0: no limit. */
static double least(const char *controller, double (*here)(const struct group *)) {
    struct group g;
    double limit = 0;
    if (!find_group(controller, &g))
        return 0;
    for (;;) {
        double l = here(&g);
        if (l > 0 && (limit <= 0 || l < limit))
            limit = l;
        char *slash = strrchr(g.path, '/');
        if (slash == NULL)
            return limit;
        *slash = '\0';
    }
}

double cgroup_cpu_limit(void) {
    double v2 = least(NULL, cpu_limit_here);
    return v2 > 0 ? v2 : least("cpu", cpu_limit_here);
}

uint64_t cgroup_memory_limit(void) {
    double v2 = least(NULL, memory_limit_here);
    return (uint64_t)(v2 > 0 ? v2 : least("memory", memory_limit_here));
}

uint64_t cgroup_oom_kills(void) {
    static const char *const controllers[] = {NULL, "memory"};
    for (int i = 0; i < 2; i++) {
        struct group g;
        char text[512];
        unsigned long long n;
        if (!find_group(controllers[i], &g))
            continue;
        if (!read_file(&g, g.v2 ? "memory.events" : "memory.oom_control", text, sizeof text))
            continue;
        const char *at = strstr(text, "oom_kill ");
        if (at != NULL && sscanf(at, "oom_kill %llu", &n) == 1)
            return n;
    }
    return 0;
}

unsigned cgroup_default_workers(char *why, size_t size) {
    cpu_set_t set;
    CPU_ZERO(&set);
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    double quota = cgroup_cpu_limit();
    unsigned workers = cpus < 1 ? 1 : (unsigned)cpus;
    if (quota > 0 && quota < workers)
        workers = (unsigned)ceil(quota);
    if (quota > 0)
        snprintf(why, size, "%d CPUs by affinity, cgroup quota %.2f", cpus, quota);
    else
        snprintf(why, size, "%d CPUs by affinity, no cgroup quota", cpus);
    return workers;
}
