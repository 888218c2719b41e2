/* trace.h: the trace that a request belongs to (W3C Trace Context): how it is read from the headers, and the one text in
 * which the service keeps it, on disk as well. The text is a traceparent of version 00; if there is a tracestate, a
 * space and the tracestate follow. Front end; pure computing. */
#ifndef OFFLOAD_TRACE_H
#define OFFLOAD_TRACE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define TRACE_PARENT_SIZE 56  /* bytes: a traceparent and a NUL */
#define TRACE_STATE_MAX   512 /* bytes of a tracestate; members that do not fit are left out */

/* What the headers say. Zero it, and call trace_deinit at the end. */
struct trace_reader {
    unsigned parents; /* how many lines traceparent has */
    char parent[TRACE_PARENT_SIZE];
    struct buf state; /* all lines of tracestate, with commas between them */
};
void trace_add_parent(struct trace_reader *t, const char *line);
void trace_add_state(struct trace_reader *t, const char *line);
/* The text, borrowed until trace_deinit. NULL: there is no traceparent, it is invalid, or there are two. A tracestate
 * that is invalid is left out. */
const char *trace_text(struct trace_reader *t);
void trace_deinit(struct trace_reader *t);

/* Writes the traceparent of a text to `parent`, and returns `parent`. NULL: the text is NULL or empty. */
const char *trace_parent(const char *text, char parent[TRACE_PARENT_SIZE]);
/* The tracestate of a text: its end. NULL: it has none. */
const char *trace_state(const char *text);

#endif
