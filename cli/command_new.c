/* command_new.c: the command that begins a plugin. The files come from cli/new_handler/, which is in the program; each
 * @NAME@ in them becomes the name of the type. Process: the client. It talks to no service. */
#include "cli/command_new.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/say.h"

#define MAX_NAME 64 /* bytes, as handlers/host/host.h has it */

#define INCLUDE_TEXT(label, file)                                                                                      \
    __asm__(".section .rodata\n" #label ":\n.incbin \"cli/new_handler/" file "\"\n.byte 0\n.previous\n");              \
    extern const char label[]

INCLUDE_TEXT(new_handler_source, "handler.c.in");
INCLUDE_TEXT(new_handler_test, "test.sh.in");
INCLUDE_TEXT(new_handler_makefile, "Makefile.in");

static bool is_name(const char *name) {
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");
    return size > 0 && size <= MAX_NAME && name[size] == '\0' && name[0] >= 'a' && name[0] <= 'z';
}

/* Writes the text, with the name in it, into a new file below the directory. 0, or -1 after a message. */
static int write_text(int directory, const char *file, mode_t mode, const char *text, const char *name) {
    static const char mark[] = "@NAME@";
    struct buf out = {0};
    for (const char *at; (at = strstr(text, mark)) != NULL; text = at + strlen(mark)) {
        buf_append(&out, text, (size_t)(at - text));
        buf_puts(&out, name);
    }
    buf_puts(&out, text);
    int fd = out.failed ? -1 : openat(directory, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    bool good = fd >= 0 && write(fd, out.data, out.size) == (ssize_t)out.size;
    if (fd >= 0 && close(fd) != 0)
        good = false;
    if (!good)
        say("%s/%s: %s", name, file, out.failed ? "out of memory" : strerror(errno));
    buf_deinit(&out);
    return good ? 0 : -1;
}

int command_new_handler(struct command_input *in) {
    const char *name = in->words[0];
    char source[MAX_NAME + 16], test[MAX_NAME + 16];
    if (!is_name(name)) {
        say("new-handler: \"%s\" cannot be the name of a job type: [a-z][a-z0-9_-]*, at most %d bytes", name, MAX_NAME);
        return EXIT_USAGE;
    }
    snprintf(source, sizeof source, "%s.c", name);
    snprintf(test, sizeof test, "%s_test.sh", name);
    if (mkdir(name, 0777) != 0) { /* so nothing is overwritten */
        say("%s: %s", name, errno == EEXIST ? "it is there already" : strerror(errno));
        return EXIT_TROUBLE;
    }
    int directory = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = directory >= 0 && write_text(directory, source, 0666, new_handler_source, name) == 0 &&
                write_text(directory, test, 0777, new_handler_test, name) == 0 &&
                write_text(directory, "Makefile", 0666, new_handler_makefile, name) == 0;
    if (directory < 0)
        say("%s: %s", name, strerror(errno));
    else
        close(directory);
    if (good)
        printf("%s/%s\n%s/%s\n%s/Makefile\n", name, source, name, test, name);
    return good ? EXIT_DONE : EXIT_TROUBLE;
}
