/* sources_test.c: what the zygote is told of plugins and programs, pool/sources.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "handlers/host/host.h"
#include "pool/blob.h"
#include "pool/sources.h"

static void sources_arrive_as_they_were_sent(void **state) {
    (void)state;
    static const char *const plugins[] = {"./a.so", "/b \"c\".so"}, *const argv[] = {"node", "tasks.mjs", "", NULL},
                             *const env[] = {"PYTHONPATH=/x:/y", NULL}, *const none[] = {NULL};
    const struct program_source programs[] = {{argv, env, "program:node tasks.mjs ''", PROGRAM_SPAWN},
                                              {argv, none, "python:\xc3\xa9.py", PROGRAM_AUTO}};
    const struct pool_sources sent = {plugins, 2, programs, 2, INT64_C(60000000000)};
    struct pool_sources got;
    struct arena memory = {0};
    host_init(false);
    int hole = host_number("from-the-store");
    int fd = sources_write(&sent);
    assert_true(fd >= 0);
    host_init(false); /* the zygote */
    assert_int_equal(sources_read(fd, &got, &memory), 0);
    close(fd);
    assert_int_equal(host_known("from-the-store"), hole);
    assert_int_equal(got.plugin_count, 2);
    assert_string_equal(got.plugins[1], plugins[1]);
    assert_int_equal(got.program_count, 2);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(got.programs[0].argv[i], argv[i]);
    assert_null(got.programs[0].argv[3]);
    assert_string_equal(got.programs[0].env[0], env[0]);
    assert_null(got.programs[1].env[0]);
    assert_string_equal(got.programs[1].source, programs[1].source);
    assert_int_equal(got.programs[0].start, PROGRAM_SPAWN);
    assert_int_equal(got.programs[1].start, PROGRAM_AUTO);
    assert_int_equal(got.load_timeout_ns, sent.load_timeout_ns);
    arena_deinit(&memory);
}

static void only_a_sealed_memfd_of_some_size_is_read(void **state) {
    (void)state;
    struct buf text = {0}, got = {0};
    int pipes[2], open = memfd_new("open");
    buf_puts(&text, "12345");
    int sealed = sources_seal("sealed", &text);
    assert_int_equal(sources_unseal(sealed, 5, &got), 0);
    assert_string_equal(got.data, "12345");
    assert_int_equal(sources_unseal(sealed, 4, &got), -1);
    assert_int_equal(memfd_write(open, "12345", 5), 0);
    assert_int_equal(sources_unseal(open, 5, &got), -1);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(sources_unseal(pipes[0], 5, &got), -1);
    assert_int_equal(sources_unseal(-1, 5, &got), -1);
    close(pipes[0]);
    close(pipes[1]);
    close(open);
    close(sealed);
    buf_deinit(&text);
    buf_deinit(&got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources_arrive_as_they_were_sent),
        cmocka_unit_test(only_a_sealed_memfd_of_some_size_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
