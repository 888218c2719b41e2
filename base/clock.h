/* clock.h: the two clocks. Monotonic nanoseconds are for measuring and for time limits; wall-clock milliseconds are for
 * people and for the store. Any process and thread. */
#ifndef OFFLOAD_CLOCK_H
#define OFFLOAD_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

/* CLOCK_MONOTONIC: comparable between the processes of one machine. */
static inline int64_t clock_monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* CPU time of the calling process. */
static inline int64_t clock_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Milliseconds since 1970, UTC. */
static inline int64_t clock_wall_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000 + t.tv_nsec / NS_PER_MS;
}

#define CLOCK_TEXT_SIZE 25 /* "2026-01-02T03:04:05.678Z" and a NUL */

/* Writes a time in UTC with milliseconds as RFC 3339 section 5.6 has it. For the years 1970..9999. */
void clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]);

#endif
