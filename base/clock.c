/* clock.c: see clock.h. Any process and thread. The texts of a few seconds are remembered, because most calls differ
 * only in their milliseconds, or by a time to live that is the same for all jobs. */
#include "base/clock.h"

#include <string.h>

void clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]) {
    static _Thread_local struct {
        time_t at;
        char text[20];
    } known[7]; /* a prime: two times that are both needed rarely share a place */
    time_t now = (time_t)(wall_ms / 1000);
    size_t place = (size_t)(now % 7);
    char *second = known[place].text;
    if (known[place].at != now || second[0] == '\0') {
        struct tm tm;
        gmtime_r(&now, &tm);
        strftime(second, sizeof known[place].text, "%Y-%m-%dT%H:%M:%S", &tm);
        known[place].at = now;
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
