/* child.h: what the processes have in common that a zygote makes, and how a process finds its children. Zygote, and the
 * front end; the main thread of each. */
#ifndef OFFLOAD_CHILD_H
#define OFFLOAD_CHILD_H

#include <sys/types.h>

/* In a process that was just forked by `parent`: it dies with it (PDEATHSIG), and exits if that is dead already. Its
 * stdin is empty, its stdout and stderr are `output`, and no signal is blocked. When memory runs out, the kernel ends it
 * rather than the front end. */
void child_begin(pid_t parent, int output);

/* Calls `visit` for each child of the main thread, those that were adopted among them (PR_SET_CHILD_SUBREAPER). For none
 * if the kernel does not tell, see proc_pid_task(5) on "children". */
void child_visit_all(void (*visit)(void *arg, pid_t pid), void *arg);

#endif
