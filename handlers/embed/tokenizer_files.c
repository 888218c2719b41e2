/* tokenizer_files.c: finds the files of a tokenizer and reads them whole. It runs in the zygote, at the start. */
#include "handlers/embed/tokenizer_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handlers/embed/tokenizer_json.h"
#include "handlers/embed/tokenizer_lines.h"

/* The bytes of an open file. 0, or -1 after contents_refuse. */
static int read_whole(struct contents *c, int fd, char **bytes, size_t *size) {
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return contents_refuse(c, "is not a file");
    if (status.st_size > TOKENIZER_MAX_FILE)
        return contents_refuse(c, "has more than %d bytes", TOKENIZER_MAX_FILE);
    *bytes = malloc((size_t)status.st_size + 1);
    if (*bytes == NULL)
        return contents_refuse(c, "there is no memory for it");
    for (*size = 0; *size < (size_t)status.st_size;) {
        ssize_t n = read(fd, *bytes + *size, (size_t)status.st_size - *size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return contents_refuse(c, "%s", strerror(errno));
        if (n == 0)
            return contents_refuse(c, "became shorter while it was read");
        *size += (size_t)n;
    }
    return 0;
}

/* 1: it is read; 0: there is no such file; -1 after contents_refuse. `path` is the folder's name with a slash, and room
 * for the file's; it stays the name that contents_refuse says. */
static int read_file(struct contents *c, char *path, size_t folder, const char *name, char **bytes, size_t *size) {
    memcpy(path + folder, name, strlen(name) + 1);
    c->file = path;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? 0 : contents_refuse(c, "%s", strerror(errno));
    int result = read_whole(c, fd, bytes, size);
    close(fd);
    return result == 0 ? 1 : -1;
}

static int read_vocabulary(struct contents *c, char *path, size_t folder, void **memory) {
    char *bytes = NULL;
    size_t size;
    int found = read_file(c, path, folder, "vocab.txt", &bytes, &size);
    *memory = bytes;
    if (found <= 0)
        return found < 0 ? -1 : contents_refuse(c, "there is neither this file nor a tokenizer.json");
    if (tokenizer_lines_read(c, bytes, size) != 0)
        return -1;
    bytes = NULL;
    found = read_file(c, path, folder, "tokenizer_config.json", &bytes, &size);
    if (found > 0)
        found = tokenizer_lines_configure(c, bytes, size);
    free(bytes);
    return found;
}

static int read_folder(struct contents *c, char *path, size_t folder, void **memory) {
    char *bytes = NULL;
    size_t size;
    int found = read_file(c, path, folder, "tokenizer.json", &bytes, &size);
    if (found > 0)
        found = tokenizer_json_read(c, bytes, size);
    else if (found == 0)
        return read_vocabulary(c, path, folder, memory);
    free(bytes);
    return found;
}

int tokenizer_files_read(struct contents *c, const char *folder, char *why, void **memory) {
    size_t size = strlen(folder);
    char *path = malloc(size + sizeof "/tokenizer_config.json");
    *memory = NULL;
    contents_init(c, folder, why);
    if (path == NULL)
        return contents_refuse(c, "there is no memory for it");
    memcpy(path, folder, size);
    path[size++] = '/';
    int result = read_folder(c, path, size, memory);
    c->file = folder;
    free(path);
    return result;
}
