/* say.c: see say.h. Process: the client. */
#include "cli/say.h"

#include <stdarg.h>
#include <stdbool.h>

#include "cli/progress.h"

#define LINE_BYTES 2000

/* ASCII controls and DEL; the C1 controls (U+0080..U+009F) are C2 80..C2 9F in UTF-8. */
static bool is_control(const unsigned char *s, size_t left) {
    return s[0] < 0x20 || s[0] == 0x7F || (s[0] == 0xC2 && left > 1 && s[1] >= 0x80 && s[1] <= 0x9F);
}

static void write_clean(FILE *to, const char *text, size_t size, char kept) {
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0; i < size; i++) {
        if (s[i] == (unsigned char)kept || !is_control(s + i, size - i)) {
            putc(s[i], to);
            continue;
        }
        putc('?', to);
        i += s[i] == 0xC2; /* its second byte goes with it */
    }
}

void say(const char *format, ...) {
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0)
        return;
    progress_clear();
    fputs("offload: ", stderr);
    write_clean(stderr, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1, ' ');
    putc('\n', stderr);
}

void say_text(FILE *to, const char *text, size_t size) {
    write_clean(to, text, size, '\n');
    if (size == 0 || text[size - 1] != '\n')
        putc('\n', to);
}
