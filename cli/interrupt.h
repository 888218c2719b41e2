/* interrupt.h: SIGINT and SIGTERM as something to look at and to poll for. The first one is noted; a
 * second one ends the process at once, whatever it is doing. */
#ifndef OFFLOAD_CLI_INTERRUPT_H
#define OFFLOAD_CLI_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

/* Notes the signals from now on, except those the caller's shell had told us to ignore. */
void interrupt_watch(void);
int interrupt_signal(void); /* the signal noted, or 0 */
int interrupt_fd(void);     /* readable once a signal was noted; -1 while not watching */
/* False if a signal came before the time was up. */
bool interrupt_sleep(int64_t ms);

#endif
