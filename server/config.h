/* config.h: reads the configuration of offloadd. A flag wins over the environment, and the environment over the file.
 * The options, and struct config, are in config_options.h. Front end, at start-up and on SIGHUP. */
#ifndef OFFLOAD_CONFIG_H
#define OFFLOAD_CONFIG_H

#include <stdbool.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "server/config_options.h"

/* Fills in the defaults, then reads the file, the environment and the flags. 0, or -1 with one line in `error`, which
 * is empty if memory ran out. The strings in *c live as long as the process, or until config_forget. */
MUST_CHECK int config_read(struct config *c, int argc, char **argv, struct buf *error);

/* Frees the strings of every configuration that was read: none of them can be used any more. */
void config_forget(void);

/* Copies the options that a reload takes from `next`, which was just read. Appends the flags of other options that have
 * changed to `ignored`, with a comma and a space between: "--listen, --workers". */
void config_take_reload(struct config *c, const struct config *next, struct buf *ignored);

/* True for --data-dir none: no store outlives the process. */
bool config_is_in_memory(const struct config *c);

#endif
