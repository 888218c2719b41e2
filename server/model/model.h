/* model.h: what all rooms of the front end know, and the one header of this room for them: a job's record, the problems that
 * clients are told, the Job document, and metrics. It knows no HTTP, no scheduling and no store. */
#ifndef OFFLOAD_MODEL_H
#define OFFLOAD_MODEL_H

#include "server/model/metrics.h"
#include "server/model/problem.h"
#include "server/model/record.h"
#include "server/model/render.h"

#endif
