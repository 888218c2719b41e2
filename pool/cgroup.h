/* cgroup.h: what the control group of this process allows and has seen, for cgroup v1, v2 and hybrid mounts.
 * Front end and zygote. Where there is no file to read, the result is the one for "no limit", or 0. */
#ifndef OFFLOAD_CGROUP_H
#define OFFLOAD_CGROUP_H

#include <stddef.h>
#include <stdint.h>

/* CPUs by quota (cpu.max, or cpu.cfs_quota_us / cpu.cfs_period_us), the least along the path to the root;
 * 0: no limit. */
double cgroup_cpu_limit(void);
/* Bytes of memory.max or memory.limit_in_bytes, the least along the path; 0: no limit. */
uint64_t cgroup_memory_limit(void);
/* How often the OOM killer struck in this group (oom_kill of memory.events or memory.oom_control). */
uint64_t cgroup_oom_kills(void);

/* How many workers to run by default: the CPUs of sched_getaffinity(2), cut to the quota (rounded up), at
 * least 1. `why` gets a sentence for the log. */
unsigned cgroup_default_workers(char *why, size_t size);

#endif
