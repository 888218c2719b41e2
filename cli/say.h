/* say.h: what people read. Text that came from the service, or from anywhere, passes through here before it
 * meets a terminal: control characters become '?', so that nobody's bytes can move the cursor. */
#ifndef OFFLOAD_CLI_SAY_H
#define OFFLOAD_CLI_SAY_H

#include <stddef.h>
#include <stdio.h>

/* One line on stderr, with "offload: " before it; newlines are control characters too. Cut at 2000 bytes. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Text of several lines, as it is but for control characters; ends it with a newline if it has none. */
void say_text(FILE *to, const char *text, size_t size);

#endif
