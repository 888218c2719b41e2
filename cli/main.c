/* main.c: offload, the command line client: reads the command line and runs one command. Process: the client. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/descriptors.h"
#include "cli/commands.h"
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

static int run_command(const struct options *options, char **words, size_t count) {
    const struct command *command = commands_find(words[0]);
    if (command == NULL) {
        say("no command '%s'; see 'offload help'", words[0]);
        return EXIT_USAGE;
    }
    if (!options_allowed(options, command->options | OPTIONS_OF_ALL, command->name) ||
        !words_fit(command, words + 1, count - 1))
        return EXIT_USAGE;
    const char *url = options_given(options, OPTION_URL) ? options->text[OPTION_URL] : getenv("OFFLOAD_URL");
    struct command_input in = {.options = options, .words = words + 1, .word_count = count - 1};
    in.service.retries = (unsigned)options_number(options, OPTION_RETRIES, DEFAULT_RETRIES);
    in.service.client = client_new(url != NULL && url[0] != '\0' ? url : HELP_DEFAULT_URL);
    if (in.service.client == NULL)
        return EXIT_USAGE;
    int code = command->run(&in);
    client_free(in.service.client);
    return code;
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
    int code = start(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    say("the output could not be written");
    return code == EXIT_DONE ? EXIT_TROUBLE : code;
}
