/* binary.c: the functions of handler.h about bytes that are not copied: the attachments of a job, parts that lie in a
 * memfd, and results that are not JSON.
 *
 * It runs in workers. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/memfd.h"
#include "handlers/host/call.h"

/* ---- mappings ---------------------------------------------------------------------------------------------------- */

/* Maps a piece of a file, whose offset need not be at the start of a page. NULL after call_fail. */
static void *map_piece(struct call *c, int fd, uint64_t offset, size_t size, int protection) {
    size_t lead = (size_t)(offset & ((uint64_t)sysconf(_SC_PAGESIZE) - 1));
    char *at = mmap(NULL, lead + size, protection, MAP_SHARED, fd, (off_t)(offset - lead));
    if (at == MAP_FAILED) {
        call_fail(c, CALL_MEMORY, NULL, "there is no memory to map %zu bytes", size);
        return NULL;
    }
    if (GROW_ARRAY(&c->mappings, c->mapping_count, &c->mapping_room) != 0) {
        munmap(at, lead + size);
        call_fail(c, CALL_MEMORY, NULL, "there is no memory for the work");
        return NULL;
    }
    c->mappings[c->mapping_count++] = (struct call_mapping){at, lead + size};
    return at + lead;
}

void call_unmap(struct call *c) {
    for (size_t i = 0; i < c->mapping_count; i++)
        munmap(c->mappings[i].at, c->mappings[i].size);
    free(c->mappings);
    c->mappings = NULL;
    c->mapping_count = c->mapping_room = 0;
}

/* ---- attachments ------------------------------------------------------------------------------------------------- */

const struct host_attachment *host_attachment(const struct host_attachments *all, uint32_t index) {
    if (all == NULL || index < all->first || index - all->first >= all->count)
        return NULL;
    return &all->list[index - all->first];
}

const struct host_attachment *host_call_attachment(const struct call *c, uint32_t index) {
    return host_attachment(c->hooks == NULL ? NULL : c->hooks->attachments, index);
}

/* The attachment, if it has such a piece; NULL after call_fail. */
static const struct host_attachment *find_piece(struct call *c, uint32_t index, uint64_t offset, uint64_t size) {
    const struct host_attachment *a = host_attachment(c->hooks == NULL ? NULL : c->hooks->attachments, index);
    if (a != NULL && offset <= a->size && size <= a->size - offset)
        return a;
    call_fail(c, CALL_FAILED, NULL, "the %s handler wants bytes that no attachment has", c->handler->name);
    return NULL;
}

const void *call_map(struct call *c, uint32_t attachment, uint64_t offset, size_t size) {
    const struct host_attachment *a = find_piece(c, attachment, offset, size);
    if (a == NULL)
        return NULL;
    if (size == 0)
        return "";
    if (a->fd < 0)
        return (const char *)a->bytes + offset;
    return map_piece(c, a->fd, a->offset + offset, size, PROT_READ);
}

void *call_map_own(struct call *c, uint32_t attachment, uint64_t offset, size_t size) {
    const struct host_attachment *a = find_piece(c, attachment, offset, size);
    if (a == NULL || !a->own || a->fd < 0 || size == 0 || (fcntl(a->fd, F_GET_SEALS) & F_SEAL_WRITE) != 0)
        return NULL;
    return map_piece(c, a->fd, a->offset + offset, size, PROT_READ | PROT_WRITE);
}

/* A second descriptor of the same file, which can only read. */
static int open_again(int fd) {
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

int call_open(struct call *c, uint32_t attachment, uint64_t *offset, uint64_t *size) {
    const struct host_attachment *a = find_piece(c, attachment, 0, 0);
    if (a == NULL)
        return -1;
    *offset = a->fd < 0 ? 0 : a->offset;
    *size = a->size;
    int fd = a->fd < 0 ? memfd_copy("offload-attachment", a->bytes, (size_t)a->size) : open_again(a->fd);
    return fd >= 0 ? fd : call_fail(c, CALL_MEMORY, NULL, "there is no descriptor for an attachment");
}

/* ---- what plan and run make -------------------------------------------------------------------------------------- */

static bool has_output(struct call *c, enum call_stage stage) {
    if (c->stage != stage)
        call_fail(c, CALL_FAILED, NULL, "the %s handler makes bytes where it cannot", c->handler->name);
    else if (c->hooks == NULL || c->hooks->output == NULL)
        call_fail(c, CALL_FAILED, NULL, "the %s handler makes bytes where there can be none", c->handler->name);
    else
        return !c->failed;
    return false;
}

/* A memfd of that many zero bytes, whose size is fixed. -1 after call_fail. */
static int make_memfd(struct call *c, uint64_t size) {
    int fd = memfd_new("offload-output");
    if (fd >= 0 && size <= INT64_MAX && ftruncate(fd, (off_t)size) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return call_fail(c, CALL_MEMORY, NULL, "there is no memory for %llu bytes", (unsigned long long)size);
}

static struct host_made *add_made(struct host_output *o) {
    size_t count = o->made_count;
    if ((count & (count - 1)) == 0) { /* it doubles */
        struct host_made *made = reallocarray(o->made, count == 0 ? 1 : 2 * count, sizeof *made);
        if (made == NULL)
            return NULL;
        o->made = made;
    }
    return &o->made[o->made_count++];
}

int host_add_made(struct host_output *o, int fd, uint64_t size) {
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0 &&
        (fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
        return -1;
    struct host_made *made = add_made(o);
    if (made == NULL)
        return -1;
    *made = (struct host_made){.fd = fd, .size = size};
    return 0;
}

int host_add_made_bytes(struct host_output *o, struct buf *bytes) {
    struct host_made *made = bytes->failed ? NULL : add_made(o);
    if (made == NULL)
        return -1;
    *made = (struct host_made){-1, bytes->size, *bytes};
    *bytes = (struct buf){0};
    return 0;
}

int plan_output(struct call *c, uint64_t size, uint32_t *attachment) {
    if (!has_output(c, CALL_STAGE_PLAN))
        return -1;
    struct host_output *o = c->hooks->output;
    int fd = make_memfd(c, size);
    if (fd < 0)
        return -1;
    *attachment = o->made_first + o->made_count;
    if (host_add_made(o, fd, size) == 0)
        return 0;
    close(fd);
    return call_fail(c, CALL_MEMORY, NULL, "there is no memory for the plan");
}

/* Does nothing stand in the part yet? */
static bool begin_memfd_part(struct call *c) {
    if (!has_output(c, CALL_STAGE_RUN))
        return false;
    if (!c->hooks->output->has_fd && c->out->size == c->out_start)
        return true;
    call_fail(c, CALL_FAILED, NULL, "the %s handler makes a part twice", c->handler->name);
    return false;
}

void *part_map(struct call *c, size_t size) {
    int fd = begin_memfd_part(c) ? make_memfd(c, size) : -1;
    if (fd < 0)
        return NULL;
    struct host_output *o = c->hooks->output;
    o->has_fd = true;
    o->fd = fd;
    o->offset = 0;
    o->size = size;
    static char nothing[1];
    return size == 0 ? nothing : map_piece(c, fd, 0, size, PROT_READ | PROT_WRITE);
}

int part_adopt(struct call *c, int fd, uint64_t offset, uint64_t size) {
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    if (!begin_memfd_part(c)) {
        close(fd);
        return -1;
    }
    struct stat st;
    int has = fcntl(fd, F_GET_SEALS);
    if (has >= 0 && (has & seals) != seals)
        has = fcntl(fd, F_ADD_SEALS, seals) == 0 ? seals : -1;
    if (has < 0 || fstat(fd, &st) != 0 || offset > (uint64_t)st.st_size || size > (uint64_t)st.st_size - offset) {
        close(fd);
        return call_fail(c, CALL_FAILED, NULL, "the memory of a result is too small, or can still be changed");
    }
    struct host_output *o = c->hooks->output;
    o->has_fd = true;
    o->fd = fd;
    o->offset = offset;
    o->size = size;
    return 0;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

/* NULL after call_fail. */
static struct host_output *begin_result(struct call *c, const char *media_type, enum host_source source) {
    if (!has_output(c, CALL_STAGE_MERGE))
        return NULL;
    struct host_output *o = c->hooks->output;
    size_t size = strlen(media_type);
    if (o->source != HOST_SOURCE_JSON || size == 0 || size > HANDLER_MAX_MEDIA_TYPE) {
        call_fail(c, CALL_FAILED, NULL, "the %s handler gives two results, or one of no media type", c->handler->name);
        return NULL;
    }
    o->source = source;
    memcpy(o->media_type, media_type, size + 1);
    return o;
}

int result_bytes(struct call *c, const char *media_type, const void *bytes, size_t size) {
    struct host_output *o = begin_result(c, media_type, HOST_SOURCE_BYTES);
    if (o == NULL)
        return -1;
    buf_append(&o->bytes, bytes, size);
    return o->bytes.failed ? call_fail(c, CALL_MEMORY, NULL, "there is no memory for the result") : 0;
}

int host_result_adopt(struct call *c, const char *media_type, int fd, uint64_t size) {
    struct host_output *o = begin_result(c, media_type, HOST_SOURCE_BYTES);
    if (o == NULL) {
        close(fd);
        return -1;
    }
    o->has_fd = true;
    o->fd = fd;
    o->offset = 0;
    o->size = size;
    return 0;
}

int result_part(struct call *c, const char *media_type, size_t part, uint64_t offset, uint64_t size) {
    if (part >= c->part_count || offset > c->parts[part].size || size > c->parts[part].size - offset)
        return call_fail(c, CALL_FAILED, NULL, "the %s handler wants bytes that no part has", c->handler->name);
    struct host_output *o = begin_result(c, media_type, HOST_SOURCE_PART);
    if (o == NULL)
        return -1;
    o->index = (uint32_t)part;
    o->offset = offset;
    o->size = size;
    return 0;
}

int result_attachment(struct call *c, const char *media_type, uint32_t attachment, uint64_t offset, uint64_t size) {
    if (find_piece(c, attachment, offset, size) == NULL)
        return -1;
    struct host_output *o = begin_result(c, media_type, HOST_SOURCE_ATTACHMENT);
    if (o == NULL)
        return -1;
    o->index = attachment;
    o->offset = offset;
    o->size = size;
    return 0;
}

void host_output_deinit(struct host_output *o) {
    for (uint32_t i = 0; i < o->made_count; i++) {
        if (o->made[i].fd >= 0)
            close(o->made[i].fd);
        buf_deinit(&o->made[i].bytes);
    }
    free(o->made);
    if (o->has_fd)
        close(o->fd);
    buf_deinit(&o->bytes);
    memset(o, 0, sizeof *o);
}
