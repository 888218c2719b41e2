/* item.h: GET /v1/jobs/{id}/result/{index}: what one item of a map has made. Front end. */
#ifndef OFFLOAD_API_ITEM_H
#define OFFLOAD_API_ITEM_H

#include "server/api/server.h"

route_handler api_get_item;

#endif
