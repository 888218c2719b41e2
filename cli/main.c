/* main.c: offload, the command line client: which commands there are, what each may be given, and the help page.
 * A command is a row of the table and a function in command_*.c. Process: the client. */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/say.h"

#define DEFAULT_URL     "http://127.0.0.1:8080"
#define DEFAULT_RETRIES 5
#define WORDS_MAX       100000

static const struct command {
    const char *name;
    const char *words;
    size_t least, most; /* how many words it takes */
    uint32_t options;   /* beside OPTIONS_OF_ALL */
    int (*run)(struct command_input *in);
    const char *help;
} commands[] = {
    {"run", "TYPE [KEY=VALUE…]", 1, WORDS_MAX, OPTIONS_OF_JOB | OPTION_BIT(OPTION_JOB), command_run,
     "submit a job, wait, print its result; ctrl-C cancels it"},
    {"submit", "TYPE [KEY=VALUE…]", 1, WORDS_MAX, OPTIONS_OF_JOB, command_submit,
     "submit a job, print it, do not wait"},
    {"map", "TYPE [FILE]", 1, 2, OPTIONS_OF_JOB & ~OPTION_BIT(OPTION_PARAMS), command_map,
     "one call for each line of parameters in FILE or stdin"},
    {"wait", "ID", 1, 1, OPTION_BIT(OPTION_JOB), command_wait, "wait for a job, print its result"},
    {"events", "ID", 1, 1, 0, command_events, "print what happens to a job until it ends"},
    {"get", "ID", 1, 1, OPTION_BIT(OPTION_RESULT), command_get, "print a job as it stands"},
    {"cancel", "ID", 1, 1, 0, command_cancel, "stop a job, print it"},
    {"ls", "", 0, 0, OPTION_BIT(OPTION_STATUS) | OPTION_BIT(OPTION_TYPE) | OPTION_BIT(OPTION_LIMIT), command_ls,
     "print the jobs, newest first, one a line"},
    {"types", "[TYPE]", 0, 1, 0, command_types, "print the job types and the schemas of their parameters"},
    {"health", "", 0, 0, OPTION_BIT(OPTION_READY) | OPTION_BIT(OPTION_VERBOSE) | OPTION_BIT(OPTION_TIMEOUT),
     command_health, "ask whether the service answers"},
};

static const char help_head[] = "offload: gives CPU work to a running offloadd, over HTTP\n"
                                "\n"
                                "usage: offload COMMAND [WORD…] [OPTION…]\n"
                                "\n";

static const char help_tail[] =
    "\n"
    "VALUE is taken as JSON if it is JSON (7, true, [1,2], \"text\"), else as a string. @FILE stands for what a file\n"
    "holds, @- for stdin. TIME is a number with ms, s, m or h. Results and jobs go to stdout as JSON, just as the\n"
    "service sent them; everything else goes to stderr. map reads a JSON object a line, and prints a line for each as\n"
    "it is finished: {\"index\", \"status\", \"result\" or \"error\"}. The URL comes from --url, else from "
    "OFFLOAD_URL, else it is\n"
    "" DEFAULT_URL ".\n"
    "\n"
    "exit codes:\n"
    "  0    done\n"
    "  1    the job, or an item of map, failed or was cancelled; health: the service is not well\n"
    "  2    the command line is wrong\n"
    "  3    the service refused the request (4xx); the reasons are on stderr\n"
    "  4    no service there, or it answered 5xx or nonsense; or the output could not be written\n"
    "  5    get --result: the job has not ended yet\n"
    "  130  interrupted; run has cancelled its job (143: the same by SIGTERM)\n";

static int print_help(void) {
    fputs(help_head, stdout);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        printf("  %-7s%-*s%s\n", commands[i].name, strchr(commands[i].words, '=') != NULL ? 22 : 20, commands[i].words,
               commands[i].help); /* "…" is three bytes in one column */
    fputs("\n", stdout);
    options_help(stdout);
    fputs(help_tail, stdout);
    return EXIT_DONE;
}

static const struct command *find_command(const char *name) {
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

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

static const char *choose_url(const struct options *options) {
    const char *url = options->text[OPTION_URL];
    if (url == NULL)
        url = getenv("OFFLOAD_URL");
    return url != NULL && url[0] != '\0' ? url : DEFAULT_URL;
}

static int run_command(const struct options *options, char **words, size_t count) {
    const struct command *command = find_command(words[0]);
    if (command == NULL) {
        say("no command '%s'; see 'offload help'", words[0]);
        return EXIT_USAGE;
    }
    if (!options_allowed(options, command->options | OPTIONS_OF_ALL, command->name) ||
        !words_fit(command, words + 1, count - 1))
        return EXIT_USAGE;
    struct command_input in = {.options = options, .words = words + 1, .word_count = count - 1};
    in.service.retries = (unsigned)options_number(options, OPTION_RETRIES, DEFAULT_RETRIES);
    in.service.client = client_new(choose_url(options));
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
    if (options_given(&options, OPTION_HELP) || (first < argc && strcmp(argv[first], "help") == 0))
        return print_help();
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
    int code = start(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    say("the output could not be written");
    return code == EXIT_DONE ? EXIT_TROUBLE : code;
}
