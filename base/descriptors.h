/* descriptors.h: makes the descriptors that a program was started with safe: any process, as the first thing in main.
 * And leaves some of those that a process may have (RLIMIT_NOFILE) to what must not fail: front end. */
#ifndef OFFLOAD_DESCRIPTORS_H
#define OFFLOAD_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

/* Opens /dev/null in place of stdin, stdout and stderr if they are closed; else the next file or socket would get their
 * number, and the log would be written into it. A read from or a write to such a descriptor fails (EBADF) if `fails` is
 * set, as with the closed one; else it reads nothing and writes to nowhere. If /dev/null cannot be opened the
 * descriptor stays closed. */
void descriptors_fill(bool fails);
/* Closes this descriptor and all above it. */
void descriptors_close_from(int first);
/* Closes those of a pair that are open, and sets both to -1. Any process, at any time. */
void descriptors_close_pair(int pair[2]);
/* Marks all other descriptors close-on-exec, so that no program which we execute gets what was left open for us. */
void descriptors_keep_private(void);

/* Descriptors from this number on are not for the data of jobs, but for connections and for jobs that run. Without this
 * call all are for everybody. */
void descriptors_reserve_from(int64_t number);
/* How many of those are in use, if this descriptor is new: the kernel gives the lowest number that is free (open(2)). */
int64_t descriptors_reserved_in_use(int fd);

#endif
