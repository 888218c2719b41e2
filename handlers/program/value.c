/* value.c: see value.h. A memfd that a program sends stays where it is: it is sealed, and what is checked is checked after
 * that, because the program can still write to it until then. It runs in workers. */
#include "handlers/program/value.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handlers/host/host.h"
#include "handlers/program/message.h"

#define SEALS    (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define MAX_TAIL (HANDLER_MAX_MEDIA_TYPE + 2)

static size_t write_tail(char tail[MAX_TAIL], const char *media_type) {
    size_t size = strlen(media_type);
    memcpy(tail, media_type, size);
    tail[size] = (char)size;
    tail[size + 1] = '\0';
    return size + 2;
}

bool value_is_binary(struct bytes *part, char media_type[HANDLER_MAX_MEDIA_TYPE + 1]) {
    const unsigned char *bytes = part->data;
    if (part->size < 2 || bytes[part->size - 1] != '\0')
        return false;
    size_t size = bytes[part->size - 2];
    if (size > HANDLER_MAX_MEDIA_TYPE || size + 2 > part->size)
        return false;
    memcpy(media_type, bytes + part->size - 2 - size, size);
    media_type[size] = '\0';
    if (!message_is_media_type(media_type))
        return false;
    part->size -= size + 2;
    return true;
}

static bool has_size(int fd, uint64_t size) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
}

const char *value_check_fd(int fd, uint64_t size) {
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & (F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_WRITE)) != 0)
        return "it sent a descriptor that is not that of a memfd without seals";
    return has_size(fd, size) ? NULL : "it sent a memfd of another size than it said";
}

int value_part(struct call *c, const char *media_type, struct bytes bytes) {
    char tail[MAX_TAIL];
    size_t size = write_tail(tail, media_type);
    return part_write(c, bytes.data, bytes.size) != 0 ? -1 : part_write(c, tail, size);
}

static int fail_fd(struct call *c, int fd) {
    close(fd);
    return call_fail(c, CALL_FAILED, NULL, "the memory of the result can still be changed: some process has it mapped");
}

int value_part_fd(struct call *c, const char *media_type, int fd, uint64_t size) {
    char tail[MAX_TAIL];
    size_t more = write_tail(tail, media_type);
    if (pwrite(fd, tail, more, (off_t)size) != (ssize_t)more) {
        close(fd);
        return call_fail(c, CALL_MEMORY, NULL, "there is no memory for the result");
    }
    if (fcntl(fd, F_ADD_SEALS, SEALS) != 0 || !has_size(fd, size + more))
        return fail_fd(c, fd);
    return part_adopt(c, fd, 0, size + more);
}

int value_result(struct call *c, const char *media_type, struct bytes bytes) {
    return result_bytes(c, media_type, bytes.data, bytes.size);
}

int value_result_fd(struct call *c, const char *media_type, int fd, uint64_t size) {
    if (fcntl(fd, F_ADD_SEALS, SEALS) != 0 || !has_size(fd, size))
        return fail_fd(c, fd);
    return host_result_adopt(c, media_type, fd, size);
}
