/* cgroup_test.c: the limits of the control group, pool/cgroup.c. The test has its own files of /proc and of the
 * hierarchies, as containers, hosts and old kernels show them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The files that exist: path and content. */
static const char *const (*files)[2];

static FILE *open_fake(const char *path, const char *mode) {
    (void)mode;
    for (int i = 0; files[i][0] != NULL; i++) {
        if (strcmp(files[i][0], path) != 0)
            continue;
        FILE *f = tmpfile();
        fputs(files[i][1], f);
        rewind(f);
        return f;
    }
    return NULL;
}

#define fopen open_fake
#include "pool/cgroup.c" /* it opens the files of the test */
#undef fopen

#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"

static void without_any_files_nothing_is_limited(void **state) {
    (void)state;
    static const char *const none[][2] = {{NULL, NULL}};
    char why[128];
    files = none;
    assert_true(cgroup_cpu_limit() <= 0);
    assert_int_equal(cgroup_memory_limit(), 0);
    assert_int_equal(cgroup_oom_kills(), 0);
    assert_true(cgroup_default_workers(why, sizeof why) >= 1);
    assert_non_null(strstr(why, "no cgroup quota"));
}

static void v2_takes_the_least_along_the_path(void **state) {
    (void)state;
    static const char *const v2[][2] = {
        {"/proc/self/cgroup", "0::/a/b\n"},
        {"/proc/self/mountinfo", V2_MOUNT},
        {"/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"},
        {"/sys/fs/cgroup/a/cpu.max", "50000 100000\n"},
        {"/sys/fs/cgroup/a/b/memory.max", "2000000\n"},
        {"/sys/fs/cgroup/a/memory.max", "max\n"},
        {"/sys/fs/cgroup/memory.max", "3000000\n"},
        {"/sys/fs/cgroup/a/b/memory.events", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n"},
        {NULL, NULL}};
    char why[128];
    files = v2;
    assert_true(cgroup_cpu_limit() > 0.49 && cgroup_cpu_limit() < 0.51);
    assert_int_equal(cgroup_memory_limit(), 2000000);
    assert_int_equal(cgroup_oom_kills(), 4);
    assert_int_equal(cgroup_default_workers(why, sizeof why), 1);
    assert_non_null(strstr(why, "quota 0.50"));
}

static void v1_has_a_path_for_each_controller(void **state) {
    (void)state;
    static const char *const v1[][2] = {
        {"/proc/self/cgroup", "5:cpuset:/\n4:memory:/m\n3:cpu,cpuacct:/c\n0::/\n"},
        {"/proc/self/mountinfo", "31 23 0:27 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                                 "32 23 0:28 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n"
                                 "33 23 0:29 / /cg/memory rw shared:4 - cgroup cgroup rw,memory\n"},
        {"/cg/cpu/c/cpu.cfs_quota_us", "150000\n"},
        {"/cg/cpu/c/cpu.cfs_period_us", "100000\n"},
        {"/cg/cpu/cpu.cfs_quota_us", "-1\n"},
        {"/cg/cpu/cpu.cfs_period_us", "100000\n"},
        {"/cg/memory/m/memory.limit_in_bytes", "1048576\n"},
        {"/cg/memory/memory.limit_in_bytes", "9223372036854771712\n"},
        {"/cg/memory/m/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"},
        {NULL, NULL}};
    files = v1;
    assert_true(cgroup_cpu_limit() > 1.49 && cgroup_cpu_limit() < 1.51);
    assert_int_equal(cgroup_memory_limit(), 1048576);
    assert_int_equal(cgroup_oom_kills(), 2);
}

/* A container engine without a cgroup namespace shows the host's path, and a mount that begins at our group. */
static void a_mount_that_begins_at_our_group_is_followed(void **state) {
    (void)state;
    static const char *const inside[][2] = {
        {"/proc/self/cgroup", "4:memory:/docker/abc/inner\n"},
        {"/proc/self/mountinfo", "33 23 0:29 /docker/abc /cg/memory ro - cgroup cgroup rw,memory\n"},
        {"/cg/memory/inner/memory.limit_in_bytes", "4096\n"},
        {NULL, NULL}};
    static const char *const elsewhere[][2] = {
        {"/proc/self/cgroup", "4:memory:/docker/abcdef\n"},
        {"/proc/self/mountinfo", "33 23 0:29 /docker/abc /cg/memory ro - cgroup cgroup rw,memory\n"},
        {"/cg/memory/memory.limit_in_bytes", "8192\n"},
        {NULL, NULL}};
    files = inside;
    assert_int_equal(cgroup_memory_limit(), 4096);
    files = elsewhere;
    assert_int_equal(cgroup_memory_limit(), 8192);
}

static void nonsense_in_the_files_is_no_limit(void **state) {
    (void)state;
    static const char *const bad[][2] = {{"/proc/self/cgroup", "\n::\n0\n0::/a\n"},
                                         {"/proc/self/mountinfo", "\n - \nx y z - cgroup2\n" V2_MOUNT},
                                         {"/sys/fs/cgroup/a/cpu.max", "0 0\n"},
                                         {"/sys/fs/cgroup/cpu.max", "-5 100000\n"},
                                         {"/sys/fs/cgroup/a/memory.max", "lots\n"},
                                         {"/sys/fs/cgroup/a/memory.events", "oom 3\n"},
                                         {NULL, NULL}};
    files = bad;
    assert_true(cgroup_cpu_limit() <= 0);
    assert_int_equal(cgroup_memory_limit(), 0);
    assert_int_equal(cgroup_oom_kills(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_any_files_nothing_is_limited),
        cmocka_unit_test(v2_takes_the_least_along_the_path),
        cmocka_unit_test(v1_has_a_path_for_each_controller),
        cmocka_unit_test(a_mount_that_begins_at_our_group_is_followed),
        cmocka_unit_test(nonsense_in_the_files_is_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
