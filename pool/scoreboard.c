/* scoreboard.c: see scoreboard.h. Front end and workers. */
#include "pool/scoreboard.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int scoreboard_new(unsigned slots) {
    int fd = memfd_new("offload-scoreboard");
    if (fd < 0)
        return -1;
    /* Sealed against shrinking: a worker must not be able to make the front end's reads fault. */
    if (ftruncate(fd, (off_t)slots * SCOREBOARD_PAGE) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

struct scoreboard_slot *scoreboard_map(int fd, unsigned slot) {
    void *page = mmap(NULL, SCOREBOARD_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)slot * SCOREBOARD_PAGE);
    return page == MAP_FAILED ? NULL : page;
}

void scoreboard_unmap(struct scoreboard_slot *s) {
    munmap(s, SCOREBOARD_PAGE);
}

void *scoreboard_map_all(int fd, unsigned slots) {
    size_t size = (size_t)slots * SCOREBOARD_PAGE;
    void *all = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (all == MAP_FAILED)
        return NULL;
    if (madvise(all, size, MADV_DONTFORK) == 0)
        return all;
    munmap(all, size);
    return NULL;
}

void scoreboard_unmap_all(void *all, unsigned slots) {
    if (all != NULL)
        munmap(all, (size_t)slots * SCOREBOARD_PAGE);
}

struct scoreboard_slot *scoreboard_at(void *all, unsigned slot) {
    return (struct scoreboard_slot *)(void *)((char *)all + (size_t)slot * SCOREBOARD_PAGE);
}

void scoreboard_clear(struct scoreboard_slot *s) {
    atomic_store(&s->current, 0);
    atomic_store(&s->passed, 0);
    atomic_store(&s->done, 0);
    atomic_store(&s->total, 0);
    for (unsigned i = 0; i < PROGRAMS_MAX; i++)
        atomic_store(&s->programs[i], 0);
    for (unsigned i = 0; i < WIRE_MAX_IN_FLIGHT; i++)
        atomic_store(&s->cancelled[i], 0);
}
