/* config_sources_test.c: the options that name where job types come from, server/config_sources.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/config_sources.h"

static struct config config;
static struct pool_sources sources;
static struct arena memory;
static struct buf error;

static int setup(void **state) {
    (void)state;
    config = (struct config){.python_bin = "python3.11", .python_start = PROGRAM_FORK, .load_timeout_ns = 7};
    return 0;
}

static int teardown(void **state) {
    (void)state;
    arena_deinit(&memory);
    buf_deinit(&error);
    return 0;
}

static void add(struct config_list *list, const char *value) {
    list->at[list->count++] = value;
}

static void read_sources(void) {
    if (config_sources(&config, &sources, &memory, &error) != 0)
        fail_msg("%s", error.data);
}

static void assert_words(const char *const *words, const char *expected) {
    struct buf joined = {0};
    for (size_t i = 0; words[i] != NULL; i++)
        buf_printf(&joined, "[%s]", words[i]);
    assert_string_equal(joined.data == NULL ? "" : joined.data, expected);
    buf_deinit(&joined);
}

static void without_options_there_are_no_sources(void **state) {
    (void)state;
    read_sources();
    assert_int_equal(sources.plugin_count + sources.program_count, 0);
    assert_int_equal(sources.load_timeout_ns, 7);
}

static void a_command_is_split_as_a_shell_does_it(void **state) {
    (void)state;
    setenv("OFFLOAD_TEST_WORD", "one two", 1);
    add(&config.program, "node 'my tasks.mjs' \"a b\" $OFFLOAD_TEST_WORD \"$OFFLOAD_TEST_WORD\" x\\ y ''");
    add(&config.program, "./double");
    read_sources();
    assert_int_equal(sources.program_count, 2);
    assert_words(sources.programs[0].argv, "[node][my tasks.mjs][a b][one][two][one two][x y][]");
    assert_words(sources.programs[0].env, "");
    assert_string_equal(sources.programs[1].source, "program:./double");
    assert_int_equal(sources.programs[1].start, PROGRAM_AUTO);
    unsetenv("OFFLOAD_TEST_WORD");
}

static void a_command_that_is_none_is_named_with_its_option(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"", "--program: the command is empty"},
        {"  ", "--program: the command is empty"},
        {"a; b", "--program \"a; b\": it has a character that means something to a shell"},
        {"`a`", "--program \"`a`\": commands in it are not executed"},
        {"'a", "--program \"'a\": a quote is not closed"},
        {"$OFFLOAD_NO_SUCH", "--program \"$OFFLOAD_NO_SUCH\": it has a variable that is not set"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        config.program.count = 0;
        add(&config.program, bad[i][0]);
        buf_clear(&error);
        assert_int_equal(config_sources(&config, &sources, &memory, &error), -1);
        if (strncmp(error.data, bad[i][1], strlen(bad[i][1])) != 0)
            fail_msg("%s", error.data);
        arena_deinit(&memory);
    }
}

static void python_is_a_program_too(void **state) {
    (void)state;
    add(&config.python, "tasks.py:f,g");
    read_sources();
    assert_words(sources.programs[0].argv, "[python3.11][-m][offload][tasks.py:f,g]");
    assert_string_equal(sources.programs[0].source, "python:tasks.py:f,g");
    assert_int_equal(sources.programs[0].start, PROGRAM_FORK);
    add(&config.python, "");
    assert_int_equal(config_sources(&config, &sources, &memory, &error), -1);
    assert_string_equal(error.data, "--python: a file or a module is wanted");
}

/* The package lies beside the program that runs: here, beside this test. */
static void the_package_is_put_in_front_of_the_path_of_python(void **state) {
    (void)state;
    char self[4096], root[4200], package[4300], file[4400], expected[4400];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(size > 0);
    self[size] = '\0';
    *strrchr(self, '/') = '\0';
    snprintf(root, sizeof root, "%s/../sdk", self);
    snprintf(package, sizeof package, "%s/python/offload", root);
    snprintf(file, sizeof file, "%s/__main__.py", package);
    mkdir(root, 0777);
    snprintf(expected, sizeof expected, "%s/python", root);
    mkdir(expected, 0777);
    mkdir(package, 0777);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fclose(f);
    setenv("PYTHONPATH", "/mine", 1);
    add(&config.python, "tasks.py");
    read_sources();
    snprintf(expected, sizeof expected, "[PYTHONPATH=%s/../sdk/python:/mine]", self);
    assert_words(sources.programs[0].env, expected);
    unsetenv("PYTHONPATH");
    unlink(file);
    rmdir(package);
    snprintf(expected, sizeof expected, "%s/python", root);
    rmdir(expected);
    rmdir(root);
}

static void a_directory_gives_its_plugins_in_order(void **state) {
    (void)state;
    char directory[] = "/tmp/offload-plugins-XXXXXX", path[64];
    static const char *const names[] = {"b.so", "a.so", "c.so.part", "readme"};
    assert_non_null(mkdtemp(directory));
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fclose(f);
    }
    add(&config.plugin, "./first.so");
    add(&config.plugin_dir, directory);
    read_sources();
    assert_int_equal(sources.plugin_count, 3);
    assert_string_equal(sources.plugins[0], "./first.so");
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, i == 0 ? "a.so" : "b.so");
        assert_string_equal(sources.plugins[1 + i], path);
    }
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    rmdir(directory);
    assert_int_equal(config_sources(&config, &sources, &memory, &error), -1);
    assert_non_null(strstr(error.data, ": No such file or directory"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(without_options_there_are_no_sources),
        TEST(a_command_is_split_as_a_shell_does_it),
        TEST(a_command_that_is_none_is_named_with_its_option),
        TEST(python_is_a_program_too),
        TEST(the_package_is_put_in_front_of_the_path_of_python),
        TEST(a_directory_gives_its_plugins_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
