/* model.h: what all rooms of the front end know: a job's record, the problems of clients, the Job document, and
 * metrics. Other rooms include only this header of this room. It knows no HTTP, no scheduling and no store. Front
 * end. */
#ifndef OFFLOAD_MODEL_H
#define OFFLOAD_MODEL_H

#include "server/model/attachment.h"
#include "server/model/metrics.h"
#include "server/model/problem.h"
#include "server/model/record.h"
#include "server/model/record_index.h"
#include "server/model/render.h"
#include "server/model/result.h"
#include "server/model/trace.h"

#endif
