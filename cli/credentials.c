/* credentials.c: see credentials.h. Process: the client. */
#include "cli/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/key.h"
#include "cli/say.h"

static char variable[CREDENTIALS_MAX_KEY + 2]; /* of OFFLOAD_API_KEY; one byte too long: it is no key */

void credentials_take_variable(void) {
    char *value = getenv("OFFLOAD_API_KEY");
    if (value == NULL)
        return;
    snprintf(variable, sizeof variable, "%s", value);
    explicit_bzero(value, strlen(value)); /* else it stays in /proc/PID/environ */
    unsetenv("OFFLOAD_API_KEY");
}

/* Whether it can stand in a header field, behind "Bearer" (RFC 6750 section 2.1; we leave the alphabet to the service). */
static bool is_key(const char *text) {
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return size > 0 && size <= CREDENTIALS_MAX_KEY;
}

/* The file can be a pipe, and what follows the first line is not looked at. 0; or -1 with errno. */
static int read_first_line(int fd, char *line, size_t room) {
    size_t size = 0;
    ssize_t n = 1;
    while (size < room - 1 && memchr(line, '\n', size) == NULL) {
        n = read(fd, line + size, room - 1 - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        size += (size_t)n;
    }
    line[size] = '\0';
    for (size = strcspn(line, "\n"); size > 0 && strchr("\r\t ", line[size - 1]) != NULL; size--)
        ;
    explicit_bzero(line + size, room - size);
    return n < 0 ? -1 : 0;
}

/* What a container's engine puts below /run/secrets has the modes that the engine gives it. */
static void warn_of_readers(const char *path, int fd) {
    struct stat info;
    if (strncmp(path, "/run/secrets/", 13) != 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
        (info.st_mode & (S_IROTH | S_IWOTH)) != 0)
        say("warning: every user can read the key in %s; chmod 600 helps", path);
}

static int read_key_file(struct credentials *c, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || read_first_line(fd, c->key, sizeof c->key) != 0) {
        say("--key-file %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    warn_of_readers(path, fd);
    close(fd);
    if (is_key(c->key)) {
        c->access.key = c->key;
        return 0;
    }
    say("--key-file %s: its first line is no key: 1 to %d printable characters without spaces", path,
        CREDENTIALS_MAX_KEY);
    return -1;
}

static int read_key(struct credentials *c, const struct options *options) {
    if (options_given(options, OPTION_KEY_FILE))
        return read_key_file(c, options->text[OPTION_KEY_FILE]);
    if (variable[0] == '\0')
        return 0;
    if (is_key(variable)) {
        c->access.key = variable;
        return 0;
    }
    say("OFFLOAD_API_KEY is no key: 1 to %d printable characters without spaces", CREDENTIALS_MAX_KEY);
    return -1;
}

/* libcurl would say it later, and not name the option. */
static int check_file(const char *what, const char *path) {
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : -1;
    if (path == NULL || fd >= 0) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    say("%s %s: %s", what, path, strerror(errno));
    return -1;
}

/* --key is the Idempotency-Key, which the service stores, and ps(1) shows. */
static bool is_misplaced(const char *idempotency_key) {
    return idempotency_key != NULL && strncmp(idempotency_key, KEY_PREFIX, strlen(KEY_PREFIX)) == 0 &&
           strlen(idempotency_key) == KEY_SIZE;
}

int credentials_read(struct credentials *c, const struct options *options) {
    *c = (struct credentials){0};
    const char *ca = getenv("OFFLOAD_CA"), *given = options->text[OPTION_CA];
    c->access.ca = given != NULL ? given : ca != NULL && ca[0] != '\0' ? ca : NULL;
    c->access.cert = options->text[OPTION_CERT];
    c->access.cert_key = options->text[OPTION_CERT_KEY];
    if (is_misplaced(options->text[OPTION_KEY])) {
        say("--key is the Idempotency-Key; an API key goes into a file (--key-file) or into OFFLOAD_API_KEY");
        return -1;
    }
    if (c->access.cert_key != NULL && c->access.cert == NULL) {
        say("--cert-key is the private key of --cert, and that is not given");
        return -1;
    }
    if (check_file(given != NULL ? "--ca" : "OFFLOAD_CA", c->access.ca) != 0 ||
        check_file("--cert", c->access.cert) != 0 || check_file("--cert-key", c->access.cert_key) != 0)
        return -1;
    return read_key(c, options);
}

void credentials_deinit(struct credentials *c) {
    explicit_bzero(c, sizeof *c);
    explicit_bzero(variable, sizeof variable);
}
