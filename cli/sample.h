/* sample.h: parameters that a schema allows, as an example to try a job type with. */
#ifndef OFFLOAD_CLI_SAMPLE_H
#define OFFLOAD_CLI_SAMPLE_H

#include <jansson.h>

/* An object with the required properties. Each is its default, the first of its examples or of its enum, or a small value
 * of its type. What a schema says beyond that is not looked at, so a program can find the values senseless. The caller owns
 * it; NULL if memory ran out. */
json_t *sample_params(json_t *schema);

#endif
