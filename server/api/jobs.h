/* jobs.h: the routes under /v1/jobs, but not POST /v1/jobs (submit.h) and the events (events.h). Their requests are
 * deferred ones (deferred.h). Front end. */
#ifndef OFFLOAD_API_JOBS_H
#define OFFLOAD_API_JOBS_H

#include "server/api/server.h"

route_handler api_get_job, api_get_result, api_get_log, api_cancel_job, api_delete_job, api_list_jobs;

#endif
