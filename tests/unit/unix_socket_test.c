/* unix_socket_test.c: who may connect to a Unix socket, from its first moment on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/descriptors.h"

static struct {
    mode_t bound, listening; /* the mode of the file when bind and listen were called */
    gid_t group;             /* of the file when listen was called */
    int listen_error;        /* listen fails with it; 0: it does not */
} seen;

static int watched_bind(int fd, const struct sockaddr *a, socklen_t size);
static int watched_listen(int fd, int backlog);
#define bind   watched_bind
#define listen watched_listen
#include "server/http/unix_socket.c"
#undef bind
#undef listen

static char folder[] = "/tmp/unix_socket_test.XXXXXX";
static char path[sizeof folder + 8];

static struct stat look(void) {
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st;
}

static int watched_bind(int fd, const struct sockaddr *a, socklen_t size) {
    int rc = bind(fd, a, size);
    seen.bound = look().st_mode & 07777;
    return rc;
}

static int watched_listen(int fd, int backlog) {
    seen.listening = look().st_mode & 07777;
    seen.group = look().st_gid;
    if (seen.listen_error == 0)
        return listen(fd, backlog);
    errno = seen.listen_error;
    return -1;
}

static int open_folder(void **state) {
    (void)state;
    seen.listen_error = 0;
    umask(0);
    snprintf(folder, sizeof folder, "/tmp/unix_socket_test.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/socket", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    umask(022);
    return rmdir(folder);
}

/* What comes behind the path: ",mode=0660". */
static struct unix_socket read_socket(const char *behind) {
    struct unix_socket s;
    struct buf text = {0}, error = {0};
    buf_printf(&text, "unix:%s%s", path, behind);
    assert_int_equal(unix_socket_read(&s, text.data, &error), 0);
    buf_deinit(&text);
    return s;
}

static void close_listener(int fd) {
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
}

static void a_socket_is_closed_to_all_until_its_mode_is_set(void **state) {
    (void)state;
    static const mode_t masks[] = {0, 022, 077};
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        const struct unix_socket s = read_socket(",mode=0664");
        umask(masks[i]);
        int fd = unix_socket_listen(&s, 1);
        assert_int_equal(seen.bound, 0600);
        assert_int_equal(seen.listening, 0664);
        assert_int_equal(look().st_mode & 07777, 0664);
        close_listener(fd);
    }
}

static void without_a_mode_the_umask_says_it(void **state) {
    (void)state;
    const struct unix_socket s = read_socket("");
    umask(027);
    close_listener(unix_socket_listen(&s, 1));
    assert_int_equal(seen.listening, 0750);
}

static void a_socket_has_its_group_before_anybody_connects(void **state) {
    (void)state;
    gid_t groups[64];
    char behind[64];
    int count = getgroups(64, groups);
    gid_t group = geteuid() == 0 ? 54321 : count > 0 ? groups[0] : getegid();
    snprintf(behind, sizeof behind, ",group=%u,mode=660", (unsigned)group);
    const struct unix_socket s = read_socket(behind);
    int fd = unix_socket_listen(&s, 1);
    assert_int_equal(seen.bound, 0600);
    assert_int_equal(seen.group, group);
    assert_int_equal(seen.listening, 0660);
    close_listener(fd);
}

static void a_socket_that_cannot_be_opened_leaves_no_file(void **state) {
    (void)state;
    const struct unix_socket s = read_socket(",mode=0600");
    unsigned before = count_descriptors();
    seen.listen_error = EOPNOTSUPP;
    assert_int_equal(unix_socket_listen(&s, 1), -1);
    assert_int_equal(errno, EOPNOTSUPP);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(count_descriptors(), before);
}

static void the_value_is_read_strictly(void **state) {
    (void)state;
    static const struct {
        const char *behind, *error; /* NULL: it is good */
        mode_t mode;
    } rows[] = {
        {"", NULL, 0},
        {",mode=0", NULL, 0},
        {",mode=0777", NULL, 0777},
        {",mode=660", NULL, 0660},
        {",group=0", NULL, 0},
        {",group=root", NULL, 0},
        {",mode=0600,group=0", NULL, 0600},
        {",", "behind commas", 0},
        {",,mode=0600", "behind commas", 0},
        {",mode", "behind commas", 0},
        {",Mode=0600", "behind commas", 0},
        {",user=root", "behind commas", 0},
        {", mode=0600", "behind commas", 0},
        {",mode=0600,mode=0600", "behind commas", 0},
        {",mode=", "octal", 0},
        {",mode=0888", "octal", 0},
        {",mode=1777", "octal", 0},
        {",mode=00660", "octal", 0},
        {",mode=-1", "octal", 0},
        {",mode=0x1f", "octal", 0},
        {",mode=0600 ", "octal", 0},
        {",group=", "no such group", 0},
        {",group=no-such-group", "no such group", 0},
        {",group=4294967295", "no such group", 0},
        {",group=99999999999", "no such group", 0},
        {",group=-1", "no such group", 0},
        {",group=+0", "no such group", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct unix_socket s;
        struct buf text = {0}, error = {0};
        buf_printf(&text, "unix:%s%s", path, rows[i].behind);
        int rc = unix_socket_read(&s, text.data, &error);
        if (rc != (rows[i].error == NULL ? 0 : -1))
            fail_msg("\"%s\": %d %s", rows[i].behind, rc, error.size > 0 ? error.data : "");
        if (rc == 0) {
            assert_string_equal(s.at.sun_path, path);
            assert_int_equal(s.mode, rows[i].mode);
            assert_int_equal(s.has_group, strstr(rows[i].behind, "group") != NULL);
        } else {
            assert_non_null(strstr(error.data, rows[i].error));
            assert_non_null(strstr(error.data, text.data));
        }
        buf_deinit(&text);
        buf_deinit(&error);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_socket_is_closed_to_all_until_its_mode_is_set),
        TEST(without_a_mode_the_umask_says_it),
        TEST(a_socket_has_its_group_before_anybody_connects),
        TEST(a_socket_that_cannot_be_opened_leaves_no_file),
        TEST(the_value_is_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
