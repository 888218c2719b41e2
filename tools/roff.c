/* roff.c: see roff.h. It runs when offload is built. */
#include "tools/roff.h"

#include <stdio.h>
#include <string.h>

static const char *escape_of(char c) {
    switch (c) {
    case '\\': return "\\e";
    case '-': return "\\-"; /* else it becomes a hyphen, which a shell does not know */
    case '\'': return "\\(aq";
    case '`': return "\\(ga";
    case '^': return "\\(ha";
    case '~': return "\\(ti";
    case '.': return "\\&."; /* at the start of a line it would begin a macro */
    default: return NULL;
    }
}

void roff_text(const char *text) {
    static const char ellipsis[] = "…";
    while (*text != '\0') {
        if (strncmp(text, ellipsis, sizeof ellipsis - 1) == 0) {
            fputs("\\&...", stdout);
            text += sizeof ellipsis - 1;
            continue;
        }
        const char *escape = escape_of(*text);
        if (escape != NULL)
            fputs(escape, stdout);
        else
            putchar(*text);
        text++;
    }
}

void roff_bold(const char *text) {
    fputs("\\fB", stdout);
    roff_text(text);
    fputs("\\fR", stdout);
}

void roff_title(const char *name, int section, const char *manual, const char *summary) {
    printf(".\\\" Made from the tables of the program. Do not edit.\n"
           ".TH %s %d \"\" \"offload " OFFLOAD_VERSION "\" \"%s\"\n.SH NAME\n%s \\- ",
           name, section, manual, name);
    roff_text(summary);
    putchar('\n');
}

void roff_section(const char *name) {
    printf(".SH %s\n", name);
}

void roff_paragraph(const char *text) {
    fputs(".PP\n", stdout);
    roff_text(text);
    if (text[strlen(text) - 1] != '\n')
        putchar('\n');
}

void roff_tag(const char *bold, const char *rest) {
    fputs(".TP\n", stdout);
    roff_bold(bold);
    if (rest != NULL)
        roff_text(rest);
    putchar('\n');
}
