/* interrupt.h: SIGINT and SIGTERM as something to look at and to poll for. The first one is noted. The second one ends
 * the process at once. One thread. */
#ifndef OFFLOAD_CLI_INTERRUPT_H
#define OFFLOAD_CLI_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

/* Notes the signals from now on, except those that were ignored when the program started. */
void interrupt_watch(void);
int interrupt_signal(void); /* the signal that was noted, or 0 */
int interrupt_fd(void);     /* readable from the first signal on; -1 before interrupt_watch */
/* Sleeps for that time or until a signal. False: a signal was noted. */
bool interrupt_sleep(int64_t ms);

#endif
