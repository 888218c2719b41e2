/* schedule.h: when a webhook is tried again, by the schedule of Standard Webhooks (github.com/standard-webhooks). Front
 * end; pure computing. */
#ifndef OFFLOAD_WEBHOOKS_SCHEDULE_H
#define OFFLOAD_WEBHOOKS_SCHEDULE_H

#include <stdint.h>

#define WEBHOOK_ATTEMPTS 10

/* How long to wait after that many failed attempts (1 .. WEBHOOK_ATTEMPTS - 1), ms: the schedule of the standard with
 * up to a tenth more or less. The answer's Retry-After (retry_after_s; -1: it has none) can make it longer: up to a
 * day. retry_ns: the first delay, which is 5 s in the standard; the others grow with it. */
int64_t webhook_delay_ms(unsigned attempt, int64_t retry_ns, int64_t retry_after_s);

/* No delay is longer than this, ms. */
int64_t webhook_longest_delay_ms(int64_t retry_ns);

#endif
