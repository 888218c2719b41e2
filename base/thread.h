/* thread.h: how the front end starts its threads. */
#ifndef OFFLOAD_THREAD_H
#define OFFLOAD_THREAD_H

#include <pthread.h>

#include "base/attributes.h"

/* Starts a thread that calls run(arg). Signals are for the main thread, so the new one blocks them all; a write to a pipe
 * without a reader gives it EPIPE alone. 0, or an errno. */
MUST_CHECK int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

#endif
