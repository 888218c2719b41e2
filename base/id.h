/* id.h: job ids, UUID version 7 (RFC 9562 section 5.7): 48 bits of wall-clock milliseconds, then a counter
 * and random bits, so that ids made by one process sort in the order in which they were made. */
#ifndef OFFLOAD_ID_H
#define OFFLOAD_ID_H

#include <stdbool.h>
#include <stdint.h>

struct id {
    uint8_t bytes[16];
};

#define ID_TEXT_SIZE 37 /* "01927f0e-....-7...-....-............" and a NUL */

struct id id_new(int64_t wall_ms);
/* All that are made from now on are greater than this one of an earlier process, also if the clock was set back since. */
void id_follow(const struct id *id);
void id_format(const struct id *id, char text[ID_TEXT_SIZE]);
/* False unless text[0..36) is a UUID in lower- or upper-case hex and ends there. */
bool id_parse(const char *text, struct id *id);

/* Fills with bytes of getrandom(2), fetched in blocks: cheap for a few bytes at a time. */
void id_random(void *bytes, unsigned size);

#endif
