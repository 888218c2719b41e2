/* state.c: see state.h. Any process. */
#include "base/state.h"

#include <stdlib.h>

#include "base/log.h"

void state_illegal_move(const char *machine, const char *from, const char *to) {
    LOG(LOG_ERROR, "illegal_move", LOG_STR("machine", machine), LOG_STR("from", from), LOG_STR("to", to));
#ifdef OFFLOAD_DEBUG
    log_flush();
    abort();
#endif
}
