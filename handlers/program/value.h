/* value.h: what a call of a program returns, as the part of a chunk: JSON text; or bytes, and behind them their media type,
 * its length in one byte, and a NUL, which no JSON text ends with. Private to handlers/program, in workers. */
#ifndef OFFLOAD_PROGRAM_VALUE_H
#define OFFLOAD_PROGRAM_VALUE_H

#include "base/attributes.h"
#include "handlers/handler.h"

/* Is the part binary? Then it is cut to its bytes, and their media type is written. */
bool value_is_binary(struct bytes *part, char media_type[HANDLER_MAX_MEDIA_TYPE + 1]);

/* NULL if the descriptor, which a program has sent, is that of a memfd of that size which can be sealed; else why not. */
const char *value_check_fd(int fd, uint64_t size);

/* Each makes bytes the part of the call, or the result of a merge. Those with a descriptor take it in any case. 0, or -1
 * after call_fail. */
MUST_CHECK int value_part(struct call *c, const char *media_type, struct bytes bytes);
MUST_CHECK int value_part_fd(struct call *c, const char *media_type, int fd, uint64_t size);
MUST_CHECK int value_result(struct call *c, const char *media_type, struct bytes bytes);
MUST_CHECK int value_result_fd(struct call *c, const char *media_type, int fd, uint64_t size);

#endif
