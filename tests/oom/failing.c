/* failing.c: an allocator that lets one allocation fail. It is preloaded (LD_PRELOAD) into offloadd by oom.py, so that
 * it stands before that of libc for the program and for each of its libraries. It passes every call on to the next
 * allocator: that of libc, or that of a sanitizer.
 *
 * What fails is said in a page of memory that the test and all processes of the service share: the file that
 * FAILING_PAGE names. Without that variable nothing fails. Only one process counts, the one whose pid is in the page,
 * and of it only one thread if the page says so. The memory of the kernel counts, too: memfd_create(2) and mmap(2) as
 * libraries call them, and a new watch of epoll(7).
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRAMES 40

enum { OFF, ARMED };

/* page.py has the same layout. */
struct page {
    atomic_uint armed;
    atomic_int pid; /* 0: the first process that looks takes it */
    atomic_int tid; /* 0: all threads */
    uint32_t frame_count;
    atomic_ullong count;  /* of allocations since it was armed */
    uint64_t first, last; /* of which these fail, from 1 on; none if first is 0 */
    atomic_ullong failed; /* how many have failed */
    uint64_t size;        /* of the first one that failed, in bytes; its backtrace: */
    uint64_t frames[FRAMES];
};

static struct page *page;
static __thread int busy; /* so that what is called here does not count */

__attribute__((constructor)) static void start(void) {
    void *frames[2];
    const char *path = getenv("FAILING_PAGE");
    backtrace(frames, 2); /* its first call allocates */
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        return;
    page = at;
    int nobody = 0;
    atomic_compare_exchange_strong(&page->pid, &nobody, (int)getpid());
}

static void note(size_t size) {
    void *frames[FRAMES];
    int n = backtrace(frames, FRAMES);
    for (int i = 0; i < n; i++)
        page->frames[i] = (uint64_t)(uintptr_t)frames[i];
    page->frame_count = (uint32_t)n;
    page->size = size;
}

/* Whether this allocation fails; errno is set then. */
static int fails(size_t size) {
    if (page == NULL || busy || atomic_load(&page->armed) != ARMED || atomic_load(&page->pid) != (int)getpid())
        return 0;
    int tid = atomic_load(&page->tid);
    if (tid != 0 && tid != (int)gettid())
        return 0;
    uint64_t now = atomic_fetch_add(&page->count, 1) + 1;
    if (page->first == 0 || now < page->first || now > page->last)
        return 0;
    busy = 1;
    if (now == page->first)
        note(size);
    busy = 0;
    atomic_fetch_add(&page->failed, 1);
    errno = ENOMEM;
    return 1;
}

/* The next definition of a function. dlsym(3) allocates nothing when it finds one. */
#define NEXT(name)                                                                                                     \
    static __typeof__(name) *next;                                                                                     \
    if (next == NULL)                                                                                                  \
        *(void **)&next = dlsym(RTLD_NEXT, #name);

void *malloc(size_t size) {
    NEXT(malloc)
    return fails(size) ? NULL : next(size);
}

void *calloc(size_t count, size_t size) {
    NEXT(calloc)
    return fails(count * size) ? NULL : next(count, size);
}

void *realloc(void *old, size_t size) {
    NEXT(realloc)
    return size != 0 && fails(size) ? NULL : next(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    NEXT(aligned_alloc)
    return fails(size) ? NULL : next(alignment, size);
}

void *memalign(size_t alignment, size_t size) {
    NEXT(aligned_alloc)
    return fails(size) ? NULL : next(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    NEXT(posix_memalign)
    return fails(size) ? ENOMEM : next(out, alignment, size);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    NEXT(mmap)
    return fails(size) ? MAP_FAILED : next(at, size, protection, flags, fd, offset);
}

int memfd_create(const char *name, unsigned flags) {
    NEXT(memfd_create)
    return fails(0) ? -1 : next(name, flags);
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event) {
    NEXT(epoll_ctl)
    return what == EPOLL_CTL_ADD && fails(0) ? -1 : next(epoll, what, fd, event);
}
