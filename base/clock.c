/* clock.c: see clock.h. The text of the last second is kept: most calls differ in milliseconds only. */
#include "base/clock.h"

#include <string.h>

void clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]) {
    static _Thread_local time_t known = -1;
    static _Thread_local char second[20];
    time_t now = (time_t)(wall_ms / 1000);
    if (now != known) {
        struct tm tm;
        gmtime_r(&now, &tm);
        strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S", &tm);
        known = now;
    }
    int ms = (int)(wall_ms % 1000);
    memcpy(text, second, 19);
    text[19] = '.';
    text[20] = (char)('0' + ms / 100);
    text[21] = (char)('0' + ms / 10 % 10);
    text[22] = (char)('0' + ms % 10);
    text[23] = 'Z';
    text[24] = '\0';
}
