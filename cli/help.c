/* help.c: see help.h. The lines about commands and options are made from their tables. Process: the client. */
#include "cli/help.h"

#include <string.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/service.h"

const char help_summary[] = "gives CPU work to a running offloadd, over HTTP";

const char help_paragraphs[] =
    "VALUE is taken as JSON if it is JSON (7, true, [1,2], \"text\"), else as a string. @FILE stands for the content "
    "of\n"
    "a file, @- for stdin. TIME is a number with ms, s, m or h. Results and jobs go to stdout as JSON, just as the\n"
    "service sent them; a result that is not JSON goes there as it is, but not to a terminal; everything else goes to\n"
    "stderr. map reads one JSON object from each line, or\n"
    "takes --columns '{\"KEY\": [VALUE, ...]}', where a VALUE that is no list is the same for all. It prints one line\n"
    "for each when it is finished: {\"index\", \"status\", \"result\" or \"error\"}. The URL comes from --url, else "
    "from\n"
    "OFFLOAD_URL, else it is " HELP_DEFAULT_URL ". An API key is never an argument, which others could see: it "
    "is in\n"
    "a file (--key-file) or in OFFLOAD_API_KEY.\n";

static const struct help_exit exits[] = {
    {EXIT_DONE, "done"},
    {EXIT_UNSUCCESSFUL, "the job, or an item of map, failed or was cancelled; health: the service is not well; "
                        "check-program: a check failed"},
    {EXIT_USAGE, "the command line is wrong"},
    {EXIT_REJECTED, "the service rejected the request (4xx); the reasons are on stderr"},
    {EXIT_TROUBLE, "the service did not answer, answered 5xx, or is not offload; or the output could not be written"},
    {EXIT_NOT_ENDED, "get --result: the job has not ended yet"},
    {130, "interrupted; run has cancelled its job (143: the same by SIGTERM)"},
};

const struct help_exit *help_exits(size_t *count) {
    *count = sizeof exits / sizeof exits[0];
    return exits;
}

void help_print(FILE *to) {
    size_t count;
    const struct command *commands = commands_table(&count);
    fprintf(to, "offload: %s\n\nusage: offload COMMAND [WORD…] [OPTION…]\n\n", help_summary);
    for (size_t i = 0; i < count; i++) {
        char left[64];
        snprintf(left, sizeof left, "%-6s %s", commands[i].name, commands[i].words);
        fprintf(to, "  %-*s %s\n", strstr(left, "…") != NULL ? 28 : 26, left,
                commands[i].help); /* "…" is three bytes in one column */
    }
    fputs("\n", to);
    options_help(to);
    fprintf(to, "\n%s\nexit codes:\n", help_paragraphs);
    const struct help_exit *rows = help_exits(&count);
    for (size_t i = 0; i < count; i++)
        fprintf(to, "  %-3d  %s\n", rows[i].code, rows[i].meaning);
}
