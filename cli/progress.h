/* progress.h: a bar on stderr while a job is awaited; nothing at all unless stderr is a terminal. */
#ifndef OFFLOAD_CLI_PROGRESS_H
#define OFFLOAD_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

bool progress_visible(void);
void progress_draw(const json_t *job, int64_t elapsed_ms);
void progress_clear(void); /* before anything else is written to the terminal */

#endif
