/* submit.h: POST /v1/jobs. Its request is a deferred one (deferred.h). Front end. */
#ifndef OFFLOAD_API_SUBMIT_H
#define OFFLOAD_API_SUBMIT_H

#include "server/api/server.h"

route_handler api_submit;

#endif
