/* result.h: the result of a record as its clients see it. Front end.
 *
 * The result of a map of which some item is not JSON is a document for clients with an index behind it, which only we
 * read (host_mixed_item in handlers/host/host.h). A worker has made both, so nothing in them is trusted. */
#ifndef OFFLOAD_RESULT_H
#define OFFLOAD_RESULT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"
#include "handlers/host/host.h"
#include "server/model/record.h"

/* True if it has an index, so that result_item finds its items. */
bool result_is_mixed(const struct record *r);
/* What clients get: a reference to the result, without an index. Empty, also if it is damaged. */
MUST_CHECK struct slice result_document(const struct record *r);
/* Finds an item of one that is mixed. Its place counts from the start of the result. False: the result is damaged, or has
 * no such item. */
MUST_CHECK bool result_item(const struct record *r, uint32_t index, struct host_mixed_item *item);

#endif
