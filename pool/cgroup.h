/* cgroup.h: the limits and the out-of-memory kills of the control group of this process, for cgroup v1, v2 and hybrid
 * mounts, see cgroups(7). Front end and zygote. Where there is no file to read, there is no limit and no kill. */
#ifndef OFFLOAD_CGROUP_H
#define OFFLOAD_CGROUP_H

#include <stddef.h>
#include <stdint.h>

/* CPUs by quota (cpu.max, or cpu.cfs_quota_us / cpu.cfs_period_us): the least along the path to the root. 0: no
 * limit. */
double cgroup_cpu_limit(void);
/* Bytes of memory.max or memory.limit_in_bytes: the least along the path to the root. 0: no limit. */
uint64_t cgroup_memory_limit(void);
/* How many processes of this group the OOM killer has killed (oom_kill of memory.events or memory.oom_control). */
uint64_t cgroup_oom_kills(void);

/* How many workers to run by default: the CPUs of sched_getaffinity(2), but no more than the quota (rounded up), and at
 * least 1. Writes a sentence for the log into `why`. */
unsigned cgroup_default_workers(char *why, size_t size);

#endif
