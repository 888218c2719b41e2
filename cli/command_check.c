/* command_check.c: see command_check.h. Process: the client. It is the host of the conversation; offloadd is not needed.
 *
 * The program is started, and must say hello. Then each check gives it something to do, and prints a line. After a check
 * that failed the next one begins with another process, so that one fault is not found twice. */
#include "cli/command_check.h"

#include <stdio.h>
#include <string.h>

#include "base/descriptors.h"
#include "cli/check.h"
#include "cli/check_calls.h"
#include "cli/check_forks.h"
#include "cli/hello.h"
#include "cli/output.h"
#include "cli/say.h"

#define LOAD_TIMEOUT_MS   60000
#define ANSWER_TIMEOUT_MS 30000

/* --params TYPE=JSON. 0; or -1 after a line on stderr. */
static int take_params(struct check *k, const char *text) {
    json_error_t error;
    const char *equals = strchr(text, '=');
    json_t *params = equals != NULL ? json_loads(equals + 1, 0, &error) : NULL;
    if (!json_is_object(params)) {
        say("--params of check-program takes TYPE=JSON, where JSON is an object, not '%s'", text);
        json_decref(params);
        return -1;
    }
    return json_object_setn_new(k->given, text, (size_t)(equals - text), params);
}

/* False, after a line on stderr: parameters were given for a type that the program has not. */
static bool are_known(struct check *k) {
    const char *name;
    json_t *params, *type;
    size_t i;
    json_object_foreach(k->given, name, params) {
        bool known = false;
        json_array_foreach(json_object_get(k->hello, "types"), i, type) {
            known = known || (check_name(type) != NULL && strcmp(check_name(type), name) == 0);
        }
        if (known)
            continue;
        say("--params: the program has no type '%s'", name);
        return false;
    }
    return true;
}

/* The first hello of the program, and what it says. False: nothing more can be checked. */
static bool check_hello(struct check *k) {
    struct program first;
    bool started = program_start(&first, k->words, NULL, &k->why) == 0;
    k->hello = started ? check_receive_hello(k, &first, false) : NULL;
    program_kill(&first);
    if (!check_verdict(k, k->hello != NULL, "hello", "it is the first message"))
        return false;
    k->forks = json_is_true(json_object_get(k->hello, "fork"));
    k->cancel_signal = (int)json_integer_value(json_object_get(k->hello, "cancel_signal"));
    return check_verdict(k, hello_check(k->hello, false, &k->why), "hello", "its members are right");
}

/* Prints a verdict on each type, and takes out those that are wrong. */
static void check_types(struct check *k) {
    json_t *types = json_object_get(k->hello, "types"), *right = json_array(), *type;
    size_t i;
    json_array_foreach(types, i, type) {
        const char *name = check_name(type);
        bool good = hello_check_type(k->hello, i, &k->why);
        if (check_verdict(k, good, name != NULL ? name : "a type", "its description is right"))
            json_array_append(right, type);
    }
    json_object_set_new(k->hello, "types", right);
}

/* Checks that need what has failed already are left out: they would only say it again. */
static void check_all(struct check *k) {
    check_types(k);
    json_t *working = NULL, *type; /* a type whose calls are answered */
    size_t i;
    if (k->forks && !check_fork_at_all(k))
        return;
    json_array_foreach(json_object_get(k->hello, "types"), i, type) {
        if (check_calls_of_type(k, type) && working == NULL)
            working = type;
    }
    if (working == NULL)
        return;
    check_conversation(k, working);
    if (k->forks)
        check_forks(k, working);
    check_advice(k);
}

static int check_program(struct check *k) {
    int code = EXIT_USAGE;
    bool told = check_hello(k);
    if (k->hello == NULL || are_known(k)) {
        unsigned before = k->failed;
        if (told)
            check_all(k);
        if (!told || k->failed > before)
            puts("# a check is left out if it needs what has failed");
        check_end(k);
        program_kill_all();
        output_close();
        printf("%u passed, %u failed\n", k->passed, k->failed);
        code = k->failed == 0 ? EXIT_DONE : EXIT_UNSUCCESSFUL;
    }
    return code;
}

int command_check_program(struct command_input *in) {
    struct check k = {.template = PROGRAM_NONE, .now = PROGRAM_NONE, .given = json_object()};
    k.load_ms = options_number(in->options, OPTION_LOAD_TIMEOUT, LOAD_TIMEOUT_MS);
    k.answer_ms = options_number(in->options, OPTION_TIMEOUT, ANSWER_TIMEOUT_MS);
    int code = EXIT_USAGE;
    size_t taken = 0;
    while (taken < in->options->params_count && take_params(&k, in->options->params[taken]) == 0)
        taken++;
    if (taken == in->options->params_count)
        k.words = program_words(in->words[0]);
    if (k.words != NULL && output_open() != 0)
        code = EXIT_TROUBLE;
    else if (k.words != NULL) {
        descriptors_keep_private();
        program_adopt();
        code = check_program(&k);
        output_close();
    }
    program_free_words(k.words);
    json_decref(k.given);
    json_decref(k.hello);
    buf_deinit(&k.why);
    return code;
}
