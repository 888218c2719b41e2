/* schedule.c: see schedule.h. Front end. */
#include "server/webhooks/schedule.h"

#include "base/clock.h"
#include "base/id.h"

#define DAY_MS (INT64_C(86400) * 1000)

/* Seconds from a failure to the next attempt, by how many attempts have failed. */
static const int64_t schedule_s[WEBHOOK_ATTEMPTS] = {0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};

int64_t webhook_delay_ms(unsigned attempt, int64_t retry_ns, int64_t retry_after_s) {
    uint32_t random;
    id_random(&random, sizeof random);
    double jitter = 0.9 + 0.2 * (double)random / UINT32_MAX;
    int64_t delay_ms = (int64_t)((double)schedule_s[attempt] / 5 * (double)(retry_ns / NS_PER_MS) * jitter);
    int64_t asked_ms = retry_after_s < DAY_MS / 1000 ? retry_after_s * 1000 : DAY_MS;
    return delay_ms > asked_ms ? delay_ms : asked_ms;
}

int64_t webhook_longest_delay_ms(int64_t retry_ns) {
    int64_t longest_ms = schedule_s[WEBHOOK_ATTEMPTS - 1] * (retry_ns / NS_PER_MS) / 5 * 11 / 10;
    return longest_ms > DAY_MS ? longest_ms : DAY_MS;
}
