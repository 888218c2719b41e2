/* descriptors.h: how many descriptors this process has open, for tests that compare it before and after. The count
 * includes the one that reads the list. */
#ifndef OFFLOAD_TESTS_DESCRIPTORS_H
#define OFFLOAD_TESTS_DESCRIPTORS_H

#include <assert.h>
#include <dirent.h>
#include <stddef.h>

static inline unsigned count_descriptors(void) {
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert(d != NULL);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

#endif
