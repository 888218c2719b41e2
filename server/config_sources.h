/* config_sources.h: the options that name where job types come from (--plugin, --plugin-dir, --program, --python) as
 * struct pool_sources. Front end, at start-up and on SIGHUP. */
#ifndef OFFLOAD_CONFIG_SOURCES_H
#define OFFLOAD_CONFIG_SOURCES_H

#include "base/arena.h"
#include "base/attributes.h"
#include "base/buf.h"
#include "pool/sources.h"
#include "server/config_options.h"

/* Splits the commands into words, lists the directories, and finds the Python package of offload. Opens no plugin and
 * starts no program. Fills *s, whose memory is in *memory. 0, or -1 with one line in `error`. In both cases the caller
 * frees the memory when *s is not used any more. */
MUST_CHECK int config_sources(const struct config *c, struct pool_sources *s, struct arena *memory, struct buf *error);

#endif
