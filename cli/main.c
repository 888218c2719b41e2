/* main.c: offload, the command line client: reads the command line and runs one command. Process: the client. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/descriptors.h"
#include "cli/commands.h"
#include "cli/credentials.h"
#include "cli/help.h"
#include "cli/say.h"

#define DEFAULT_RETRIES 5

static bool words_fit(const struct command *command, char **words, size_t count) {
    if (count < command->least || count > command->most) {
        say("usage: offload %s %s", command->name, command->words);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (words[i][0] != '\0')
            continue;
        say("%s: an argument is empty", command->name);
        return false;
    }
    return true;
}

static int run_at_service(const struct command *command, struct command_input *in) {
    const struct options *options = in->options;
    const char *url = options_given(options, OPTION_URL) ? options->text[OPTION_URL] : getenv("OFFLOAD_URL");
    struct credentials credentials;
    int code = EXIT_USAGE;
    if (credentials_read(&credentials, options) == 0)
        in->service.client = client_new(url != NULL && url[0] != '\0' ? url : HELP_DEFAULT_URL, &credentials.access);
    if (in->service.client != NULL)
        code = command->run(in);
    client_free(in->service.client);
    credentials_deinit(&credentials);
    return code;
}

static int run_command(const struct options *options, char **words, size_t count) {
    const struct command *command = commands_find(words[0]);
    if (command == NULL) {
        say("no command '%s'; see 'offload help'", words[0]);
        return EXIT_USAGE;
    }
    uint64_t allowed = command->options | OPTIONS_OF_ALL | (command->local ? 0 : OPTIONS_OF_SERVICE);
    if (!options_allowed(options, allowed, command->name) || !words_fit(command, words + 1, count - 1))
        return EXIT_USAGE;
    struct command_input in = {.options = options, .words = words + 1, .word_count = count - 1};
    in.service.retries = (unsigned)options_number(options, OPTION_RETRIES, DEFAULT_RETRIES);
    return command->local ? command->run(&in) : run_at_service(command, &in);
}

static int start(int argc, char **argv) {
    static char name[] = "offload"; /* how getopt_long names us */
    struct options options;
    argv[0] = name;
    int first = options_parse(&options, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (options_given(&options, OPTION_HELP) || (first < argc && strcmp(argv[first], "help") == 0)) {
        help_print(stdout);
        return EXIT_DONE;
    }
    if (options_given(&options, OPTION_VERSION)) {
        puts("offload " OFFLOAD_VERSION);
        return EXIT_DONE;
    }
    if (first == argc) {
        say("no command; see 'offload help'");
        return EXIT_USAGE;
    }
    return run_command(&options, argv + first, (size_t)(argc - first));
}

int main(int argc, char **argv) {
    descriptors_fill(true);
    credentials_take_variable();
    int code = start(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    say("the output could not be written");
    return code == EXIT_DONE ? EXIT_TROUBLE : code;
}
