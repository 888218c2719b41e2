/* id.c: see id.h. Front end. */
#include "base/id.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/hex.h"

/* Of the last id. */
static int64_t last_ms;
static unsigned counter; /* RFC 9562 section 6.2, method 1: 12 bits in rand_a */

void id_random(void *bytes, unsigned size) {
    static uint8_t pool[1024];
    static unsigned used = sizeof pool;
    if (size > sizeof pool - used) {
        if (size > sizeof pool || getrandom(pool, sizeof pool, 0) != (ssize_t)sizeof pool)
            abort(); /* cannot happen: getrandom(2) gives less only before the kernel's pool is ready */
        used = 0;
    }
    memcpy(bytes, pool + used, size);
    used += size;
}

struct id id_new(int64_t wall_ms) {
    if (wall_ms > last_ms) {
        last_ms = wall_ms;
        uint16_t seed;
        id_random(&seed, sizeof seed);
        counter = seed & 0x7FF;
    } else if (++counter > 0xFFF) {
        last_ms++; /* more ids than the counter can count: take the next millisecond */
        counter = 0;
    }
    struct id id;
    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(last_ms >> (40 - 8 * i));
    id.bytes[6] = (uint8_t)(0x70 | counter >> 8);
    id.bytes[7] = (uint8_t)counter;
    id_random(id.bytes + 8, 8);
    id.bytes[8] = (uint8_t)(0x80 | (id.bytes[8] & 0x3F));
    return id;
}

void id_follow(const struct id *id) {
    int64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id->bytes[i];
    if (ms < last_ms)
        return;
    last_ms = ms;
    counter = 0xFFF; /* we do not know how many ids that process made in this millisecond */
}

void id_format(const struct id *id, char text[ID_TEXT_SIZE]) {
    static const char hex[] = "0123456789abcdef";
    char *to = text;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = hex[id->bytes[i] >> 4];
        *to++ = hex[id->bytes[i] & 15];
    }
    *to = '\0';
}

bool id_parse(const char *text, struct id *id) {
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            if (*text++ != '-')
                return false;
        }
        int high = hex_value(text[0]);
        int low = high < 0 ? -1 : hex_value(text[1]);
        if (low < 0)
            return false;
        id->bytes[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return *text == '\0';
}
