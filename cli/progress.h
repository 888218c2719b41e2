/* progress.h: a progress bar on stderr while the client waits for a job. Without a terminal there is no bar. */
#ifndef OFFLOAD_CLI_PROGRESS_H
#define OFFLOAD_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

bool progress_visible(void); /* stderr is a terminal that can show it */
/* job: a Job; elapsed_ms: how long the client has waited. No effect if the bar is not visible. */
void progress_draw(const json_t *job, int64_t elapsed_ms);
void progress_clear(void); /* call it before anything else is written to the terminal */

#endif
