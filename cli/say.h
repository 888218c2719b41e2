/* say.h: texts for people. All text that is not ours, such as the service's, passes through here before a terminal gets
 * it: control characters become '?', so that no foreign byte can move the cursor. */
#ifndef OFFLOAD_CLI_SAY_H
#define OFFLOAD_CLI_SAY_H

#include <stddef.h>
#include <stdio.h>

/* Writes one line to stderr, with "offload: " before it. A newline is a control character, too. Cut at 2000 bytes. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Writes text of several lines, and a newline if it does not end with one. */
void say_text(FILE *to, const char *text, size_t size);

#endif
