/* program.h: a program and its types. Private to handlers/program. */
#ifndef OFFLOAD_PROGRAM_PROGRAM_H
#define OFFLOAD_PROGRAM_PROGRAM_H

#include <stdatomic.h>

#include "handlers/handler.h"
#include "handlers/host/host.h"
#include "handlers/program/process.h"

struct program {
    const char *source;
    int cancel_signal; /* 0: none */
    bool takes_binary; /* its parameters of base64 are PARAM_BYTES */
    struct process *process;
};

struct program_type {
    struct handler handler; /* its data is this struct */
    struct program *program;
    struct host_table table; /* owned */
    bool splits, merges;
    bool takes_bytes; /* some parameter is a PARAM_BYTES */
    /* What a call has cost lately, in ns; 0: none has run. All workers of a zygote share it. */
    _Atomic uint64_t *cost_ns;
    /* In this process: calls of this type print lines. So the next ones, so many of them, are sent one by one, and each
     * line is known to be theirs. */
    unsigned prints;
};

/* The functions of their handlers: session.c. */
int program_plan(struct call *c, const struct params *p);
int program_run(struct call *c, struct bytes common, struct bytes chunk);
int program_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count);
void program_run_batch(struct batch *b);

#endif
