/* manual_offloadd.c: writes a manual of offloadd to stdout, from the table of its options: the page offloadd.8 ("man"),
 * or docs/options.md ("markdown"). It runs when offload is built. */
#include <stdio.h>
#include <string.h>

#include "server/config_options.h"
#include "tools/roff.h"

/* ---- offloadd.8 -------------------------------------------------------------------------------------------------- */

static void man_option(const struct config_option *row) {
    char flag[64];
    struct buf value = {0}, range = {0};
    snprintf(flag, sizeof flag, "--%s", row->name);
    buf_putc(&value, ' ');
    config_write_value(&value, row);
    config_write_range(&range, row);
    roff_tag(flag, value.data);
    roff_text(row->help);
    fputs("\\&.\n", stdout);
    if (range.size > 0) {
        fputs("Range: ", stdout);
        roff_text(range.data);
        fputs("\\&.\n", stdout);
    }
    if (config_default_of(row) != NULL) {
        fputs("Default: ", stdout);
        roff_text(config_default_of(row));
        fputs("\\&.\n", stdout);
    }
    if (row->reload == CONFIG_RELOADED)
        fputs("A reload takes it.\n", stdout);
    buf_deinit(&value);
    buf_deinit(&range);
}

static void write_man(const struct config_option *rows, size_t count) {
    roff_title("offloadd", 8, "System Manager's Manual", "runs CPU-bound jobs for other programs, over HTTP");
    roff_section("SYNOPSIS");
    fputs("\\fBoffloadd\\fR [\\fB\\-\\-\\fIoption\\fR \\fIvalue\\fR]\\&...\n", stdout);
    roff_section("DESCRIPTION");
    roff_paragraph("offloadd takes CPU-bound jobs over HTTP and runs them in a pool of worker processes. It stays in "
                   "the foreground, writes its log to stderr, and needs no other service.");
    roff_section("OPTIONS");
    roff_paragraph("Every option is also an environment variable (--max-body: OFFLOAD_MAX_BODY) and a key of the "
                   "--config file (max-body = 64MiB; # begins a comment line). A flag wins over the environment, and "
                   "that over the file. An empty variable is as if it were not set. A size takes KiB, MiB or GiB, a "
                   "time ms, s, m or h. A switch is --name or "
                   "--name=false. An option that is repeatable keeps all values of the source that wins.");
    for (size_t i = 0; i < count; i++)
        man_option(&rows[i]);
    roff_section("SIGNALS");
    roff_tag("SIGTERM, SIGINT", NULL);
    roff_text("Drain: reject new jobs, let running ones end within --drain-timeout, then exit. A second one stops "
              "now.\n");
    roff_tag("SIGHUP", NULL);
    roff_text("Reload: read the configuration again, load the handlers again, and replace the workers as they become "
              "idle. A changed option that a reload does not take is logged, and waits for the next start.\n");
    roff_section("EXIT STATUS");
    roff_tag("0", NULL);
    roff_text("It was drained, or --drain-timeout was over.\n");
    roff_tag("1", NULL);
    roff_text("It could not start.\n");
    roff_tag("2", NULL);
    roff_text("The command line or the configuration is wrong; one line on stderr says what.\n");
    roff_tag("128 + signal", NULL);
    roff_text("A second signal stopped it.\n");
    roff_section("SEE ALSO");
    fputs(".BR offload (1)\n", stdout);
}

/* ---- docs/options.md --------------------------------------------------------------------------------------------- */

/* Writes a cell of a table: a bar has to be escaped there, in code too. */
static void put_cell(const char *text, const char *mark) {
    fputs(mark, stdout);
    for (; *text != '\0'; text++) {
        if (*text == '|')
            putchar('\\');
        putchar(*text);
    }
    printf("%s | ", mark);
}

static void markdown_option(const struct config_option *row) {
    char flag[64];
    struct buf value = {0}, range = {0};
    snprintf(flag, sizeof flag, "--%s", row->name);
    config_write_value(&value, row);
    config_write_range(&range, row);
    fputs("| ", stdout);
    put_cell(flag, "`");
    put_cell(value.data, "`");
    put_cell(config_default_of(row) == NULL ? "" : config_default_of(row), row->fallback == NULL ? "" : "`");
    put_cell(range.size > 0 ? range.data : "", "");
    put_cell(row->reload == CONFIG_RELOADED ? "yes" : "", "");
    printf("%s |\n", row->help);
    buf_deinit(&value);
    buf_deinit(&range);
}

static void write_markdown(const struct config_option *rows, size_t count) {
    fputs(
        "# The options of offloadd\n"
        "\n"
        "<!-- Made by `make docs` from the table in server/config_options.c. Do not edit. -->\n"
        "\n"
        "Every option is also an environment variable (`--max-body`: `OFFLOAD_MAX_BODY`) and a key of the `--config`\n"
        "file (`max-body = 64MiB`). A switch (`true|false`) is the flag alone, or `--name=false`. A flag wins over\n"
        "the environment, and that over the file. An empty variable is as if it were not set. SIGHUP reads all of\n"
        "it again; options without a \"yes\" wait for the next start, and the log names those that have changed.\n"
        "\n"
        "| option | value | default | range | reload | what it is for |\n"
        "|---|---|---|---|---|---|\n",
        stdout);
    for (size_t i = 0; i < count; i++)
        markdown_option(&rows[i]);
}

int main(int argc, char **argv) {
    size_t count;
    const struct config_option *rows = config_options(&count);
    if (argc == 2 && strcmp(argv[1], "man") == 0) {
        write_man(rows, count);
    } else if (argc == 2 && strcmp(argv[1], "markdown") == 0) {
        write_markdown(rows, count);
    } else {
        fputs("usage: manual_offloadd man | markdown\n", stderr);
        return 2;
    }
    return 0;
}
