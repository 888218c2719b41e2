/* help.h: the help page, and the texts that it shares with the manual page (tools/manual_offload.c). */
#ifndef OFFLOAD_CLI_HELP_H
#define OFFLOAD_CLI_HELP_H

#include <stddef.h>
#include <stdio.h>

#define HELP_DEFAULT_URL "http://127.0.0.1:8080"

extern const char help_summary[];    /* one line */
extern const char help_paragraphs[]; /* plain text in lines that fit on the page */

/* The exit codes, the smallest first. */
struct help_exit {
    int code;
    const char *meaning;
};
const struct help_exit *help_exits(size_t *count);

void help_print(FILE *to);

#endif
