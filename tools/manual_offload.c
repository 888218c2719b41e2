/* manual_offload.c: writes offload.1 to stdout, from the tables that --help is made from. It runs when offload is
 * built. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/help.h"
#include "cli/options.h"
#include "tools/roff.h"

static void write_commands(void) {
    size_t count;
    const struct command *commands = commands_table(&count);
    roff_section("COMMANDS");
    for (size_t i = 0; i < count; i++) {
        char words[64];
        snprintf(words, sizeof words, " %s", commands[i].words);
        roff_tag(commands[i].name, words);
        roff_text(commands[i].help);
        fputs("\\&.\n", stdout);
    }
}

/* Writes which commands take the option; nothing if all do. */
static void write_takers(enum option_id id) {
    size_t count, taken = 0;
    const struct command *commands = commands_table(&count);
    if (((OPTIONS_OF_ALL | OPTIONS_OF_SERVICE) & OPTION_BIT(id)) != 0)
        return;
    for (size_t i = 0; i < count; i++) {
        if ((commands[i].options & OPTION_BIT(id)) == 0)
            continue;
        fputs(taken++ == 0 ? "For " : ", ", stdout);
        roff_bold(commands[i].name);
    }
    fputs(".\n", stdout);
}

static void write_options(void) {
    roff_section("OPTIONS");
    roff_paragraph("Options can be before, between and behind the other words. An option without \"For\" is for all "
                   "commands that talk to the service.");
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option_row *row = options_row((enum option_id)id);
        char flag[64], value[64];
        snprintf(flag, sizeof flag, "--%s", row->name);
        snprintf(value, sizeof value, " %s", row->value == NULL ? "" : row->value);
        roff_tag(flag, row->value == NULL ? NULL : value);
        roff_text(row->help);
        fputs("\\&.\n", stdout);
        write_takers((enum option_id)id);
    }
}

static void write_exits(void) {
    size_t count;
    const struct help_exit *exits = help_exits(&count);
    roff_section("EXIT STATUS");
    for (size_t i = 0; i < count; i++) {
        char code[16];
        snprintf(code, sizeof code, "%d", exits[i].code);
        roff_tag(code, NULL);
        roff_text(exits[i].meaning);
        fputs("\\&.\n", stdout);
    }
}

int main(void) {
    roff_title("offload", 1, "User Commands", help_summary);
    roff_section("SYNOPSIS");
    fputs("\\fBoffload\\fR \\fICOMMAND\\fR [\\fIWORD\\fR\\&...] [\\fIOPTION\\fR\\&...]\n", stdout);
    roff_section("DESCRIPTION");
    roff_paragraph(help_paragraphs);
    write_commands();
    write_options();
    roff_section("ENVIRONMENT");
    roff_tag("OFFLOAD_URL", NULL);
    roff_text("Where the service is, unless --url says so.\n");
    roff_tag("OFFLOAD_API_KEY", NULL);
    roff_text("The API key, unless --key-file names it. The programs of check-program do not get it.\n");
    roff_tag("OFFLOAD_CA", NULL);
    roff_text("A file of certificates to trust, unless --ca names it.\n");
    write_exits();
    roff_section("SEE ALSO");
    fputs(".BR offloadd (8)\n", stdout);
    return 0;
}
