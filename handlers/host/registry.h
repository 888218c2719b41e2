/* registry.h: the parameter tables of the job types of this process. Private to handlers/host; host.h has the rest. */
#ifndef OFFLOAD_HOST_REGISTRY_H
#define OFFLOAD_HOST_REGISTRY_H

#include "handlers/host/host.h"
#include "handlers/host/params.h"

const struct params_table *registry_table(size_t type); /* NULL beyond host_count() */

#endif
