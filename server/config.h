/* config.h: the configuration of offloadd, read from flags, environment and file, in that order of precedence. Which
 * options there are, and struct config, is in config_options.h. Front end, at start-up and on SIGHUP. */
#ifndef OFFLOAD_CONFIG_H
#define OFFLOAD_CONFIG_H

#include <stdbool.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "server/config_options.h"

/* Fills in defaults, then reads the file, the environment and the flags. 0, or -1 with one clear line in `error`, empty
 * if memory ran out. The strings in *c live as long as the process. */
MUST_CHECK int config_read(struct config *c, int argc, char **argv, struct buf *error);

/* Copies from `fresh`, which was read again, what a reload takes. Appends to `ignored` the flags of those options that
 * have changed all the same, with a comma and a space between: "--listen, --workers". */
void config_take_reload(struct config *c, const struct config *fresh, struct buf *ignored);

bool config_is_in_memory(const struct config *c);

#endif
