/* templates.h: the zygote's side of programs (docs/programs.md): it starts them, has their templates fork program
 * processes for the workers, and reaps these. Zygote; its event loop's thread.
 *
 *     zygote ──exec──► template ──fork, fork──► program process of worker 0     its parent is the zygote, a subreaper
 *       │                  └──────fork, fork──► program process of worker 1
 *       ├──────exec──► program process of worker 0                              of a program that cannot be forked
 *       └──────fork──► worker 0 ═ supply socket ═ zygote                        the worker asks, and gets news
 *
 * A program process ends with its worker: the zygote kills it. It ends with the zygote: PDEATHSIG. It is the leader of a
 * process group, and what it leaves behind in that group is killed with it. */
#ifndef OFFLOAD_TEMPLATES_H
#define OFFLOAD_TEMPLATES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "base/loop.h"
#include "pool/sources.h"

/* Comes first. The loop is borrowed. */
void templates_init(struct loop *loop);

/* Starts all programs at once, and waits until each has said hello, at most timeout_ns. Their types are known to the
 * host then. The list is borrowed as long as the process lives. The loop runs meanwhile, and must reap. 0, or -1 with one
 * line in `error`: which program, and why. loading: is called before it waits for a program. */
MUST_CHECK int templates_load(const struct program_source *list, size_t count, int64_t timeout_ns,
                              void (*loading)(const char *source), struct buf *error);

/* A worker was forked. `supply` is our end of the socket to it, which is taken. */
void templates_add_worker(pid_t worker, int supply);
/* The worker is dead: so are its program processes now. */
void templates_remove_worker(pid_t worker);

/* A child that is no worker is about to be reaped (it is still a zombie): kills what is left of its process group. */
void templates_before_reap(pid_t pid);
/* It is reaped. Tells its worker, or starts a template anew. */
void templates_reaped(pid_t pid, int status, const struct rusage *usage, bool oom);

/* In a worker that was just forked: closes what belongs to the zygote. */
void templates_forget(void);

#endif
