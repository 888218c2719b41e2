/* unix_socket.c: see unix_socket.h. Front end.
 *
 * The order keeps everybody out until all is set: the file is made with mode 0600; it gets its group, then its mode; and
 * only listen(2) lets anybody connect. umask(2) would do for the first step, but it is of all threads. */
#include "server/http/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/field.h"

#define PREFIX       "unix:"
#define CLOSED       0600
#define MAX_NAME     256
#define MODE_DIGITS  4 /* "0660" */
#define NO_GROUP     ((gid_t)-1)
#define WANTED_PARTS "unix:/path, and behind commas mode=0660 or group=NAME, is wanted"

bool unix_socket_is_meant(const char *text) {
    return strncmp(text, PREFIX, strlen(PREFIX)) == 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static int complain(struct buf *error, const char *text, const char *why) {
    buf_printf(error, "--listen %s: %s", text, why);
    return -1;
}

static int read_path(struct unix_socket *s, const char *path, size_t size, const char *text, struct buf *error) {
    const size_t room = sizeof s->at.sun_path;
    if (size == 0 || path[0] != '/' || size >= room) {
        buf_printf(error, "--listen %s: an absolute path of less than %zu bytes is wanted", text, room);
        return -1;
    }
    memcpy(s->at.sun_path, path, size); /* the rest is zero */
    return 0;
}

/* Octal digits, "660" or "0660". */
static int read_mode(struct unix_socket *s, const char *value, const char *text, struct buf *error) {
    size_t n = strspn(value, "01234567");
    unsigned long mode = strtoul(value, NULL, 8);
    if (n == 0 || value[n] != '\0' || n > MODE_DIGITS || mode > 0777)
        return complain(error, text, "mode is wanted as octal digits from 0000 to 0777");
    s->mode = (mode_t)mode;
    s->has_mode = true;
    return 0;
}

/* A number, or the name of a group (group(5)). */
static int read_group(struct unix_socket *s, const char *value, const char *text, struct buf *error) {
    const struct field_part digits = {value, strlen(value)};
    const struct group *found = NULL;
    uint64_t number = NO_GROUP;
    if (!field_read_number(&digits, NO_GROUP, &number) && value[0] != '\0')
        found = getgrnam(value);
    s->group = found != NULL ? found->gr_gid : (gid_t)number;
    s->has_group = s->group != NO_GROUP;
    return s->has_group ? 0 : complain(error, text, "there is no such group");
}

int unix_socket_read(struct unix_socket *s, const char *text, struct buf *error) {
    static const struct {
        const char *name;
        int (*read)(struct unix_socket *s, const char *value, const char *text, struct buf *error);
    } keys[] = {{"mode=", read_mode}, {"group=", read_group}};
    const char *at = text + strlen(PREFIX);
    size_t size = strcspn(at, ",");
    unsigned seen_keys = 0;
    *s = (struct unix_socket){.at = {.sun_family = AF_UNIX}};
    if (read_path(s, at, size, text, error) != 0)
        return -1;
    for (at += size; *at != '\0'; at += size) {
        char part[MAX_NAME];
        size_t key = 0, keys_count = sizeof keys / sizeof keys[0];
        at++;
        size = strcspn(at, ",");
        if (size >= sizeof part)
            return complain(error, text, WANTED_PARTS);
        memcpy(part, at, size);
        part[size] = '\0';
        while (key < keys_count && strncmp(part, keys[key].name, strlen(keys[key].name)) != 0)
            key++;
        if (key == keys_count || (seen_keys & 1U << key) != 0)
            return complain(error, text, WANTED_PARTS);
        seen_keys |= 1U << key;
        if (keys[key].read(s, part + strlen(keys[key].name), text, error) != 0)
            return -1;
    }
    return 0;
}

int unix_socket_check(const struct unix_socket *s, struct buf *error) {
    char folder[sizeof s->at.sun_path + 1];
    struct stat st;
    snprintf(folder, sizeof folder, "%s", s->at.sun_path);
    *(strrchr(folder, '/') + 1) = '\0';
    if (access(folder, W_OK | X_OK) != 0)
        buf_printf(error, "--listen unix:%s: %s: %s", s->at.sun_path, folder, strerror(errno));
    else if (lstat(s->at.sun_path, &st) == 0 && !S_ISSOCK(st.st_mode))
        buf_printf(error, "--listen unix:%s: there is another file, which is no socket", s->at.sun_path);
    else
        return 0;
    return -1;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static int new_socket(void) {
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* True if the file of a socket exists and nobody listens on it: a crash has left it. */
static bool is_stale(const struct sockaddr_un *a) {
    int fd = new_socket();
    struct stat st;
    bool stale = fd >= 0 && stat(a->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
                 connect(fd, (const struct sockaddr *)a, sizeof *a) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return stale;
}

/* Sets who may connect to the bound socket. A symbolic link that somebody has put in its place is not followed. */
static int give_access(const struct unix_socket *s) {
    const char *path = s->at.sun_path;
    if (s->has_group && lchown(path, (uid_t)-1, s->group) != 0)
        return -1;
    return s->has_mode ? fchmodat(AT_FDCWD, path, s->mode, AT_SYMLINK_NOFOLLOW) : 0;
}

/* The mode of the socket becomes that of the file, less the umask. */
static int bind_it(int fd, const struct unix_socket *s) {
    if (s->has_mode && fchmod(fd, CLOSED) != 0)
        return -1;
    return bind(fd, (const struct sockaddr *)&s->at, sizeof s->at);
}

int unix_socket_listen(const struct unix_socket *s, int backlog) {
    if (is_stale(&s->at))
        unlink(s->at.sun_path);
    int fd = new_socket();
    if (fd < 0)
        return -1;
    bool bound = bind_it(fd, s) == 0;
    if (bound && give_access(s) == 0 && listen(fd, backlog) == 0)
        return fd;
    int why = errno;
    close(fd);
    if (bound)
        unlink(s->at.sun_path);
    errno = why;
    return -1;
}
