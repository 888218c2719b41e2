/* id.h: job ids. They are UUIDs of version 7 (RFC 9562 section 5.7): 48 bits of wall-clock milliseconds, then a counter
 * and random bits, so that the ids of one process sort in the order in which they were made. Front end; one thread. */
#ifndef OFFLOAD_ID_H
#define OFFLOAD_ID_H

#include <stdbool.h>
#include <stdint.h>

struct id {
    uint8_t bytes[16];
};

#define ID_TEXT_SIZE 37 /* "01927f0e-....-7...-....-............" and a NUL */

struct id id_new(int64_t wall_ms);
/* From now on all new ids are greater than this one, which an earlier process made, even if the clock was set back. */
void id_follow(const struct id *id);
void id_format(const struct id *id, char text[ID_TEXT_SIZE]);
/* True if the text is a UUID in lower- or upper-case hex, and nothing else. */
bool id_parse(const char *text, struct id *id);

/* Fills `bytes` with at most 1024 random bytes of getrandom(2). They are fetched in blocks, so that a few are cheap. */
void id_random(void *bytes, unsigned size);

#endif
