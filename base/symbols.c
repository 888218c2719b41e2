/* symbols.c: see symbols.h. Any process. */
#include "base/symbols.h"

#include <link.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* They are in the segment at the start of the file. It is never written to: then to drop its pages would lose bytes. */
static int let_go(struct dl_phdr_info *object, size_t size, void *arg) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    (void)size, (void)arg;
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &object->dlpi_phdr[i];
        uintptr_t from = (uintptr_t)object->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_LOAD && p->p_flags == PF_R && p->p_offset == 0 && from % page == 0)
            madvise((void *)from, (p->p_filesz + page - 1) / page * page, MADV_DONTNEED);
    }
    return 0;
}

void symbols_let_go(void) {
    dl_iterate_phdr(let_go, NULL);
}
