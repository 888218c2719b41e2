/* scheduler_test.c: whose turn it is. See server/jobs/scheduler.c. Time is what the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/jobs/scheduler.h"

enum { MANY = 100 };

static struct scheduler s;
static struct sched_entry e[MANY];

static int empty(void **state) {
    (void)state;
    memset(&s, 0, sizeof s);
    memset(e, 0, sizeof e);
    return 0;
}

/* The entry whose turn it is; it is served, and comes back to the tail. -1: none. */
static int serve(enum sched_class class, int64_t now_ns) {
    int urgency;
    struct sched_entry *next = sched_peek(&s, class, now_ns, &urgency);
    if (next == NULL)
        return -1;
    unsigned level = next->urgency;
    sched_remove(&s, next);
    sched_put(&s, next, class, level, now_ns);
    return (int)(next - e);
}

/* The same, but it does not come back. */
static int finish(enum sched_class class, int64_t now_ns) {
    int urgency;
    struct sched_entry *next = sched_peek(&s, class, now_ns, &urgency);
    if (next != NULL)
        sched_remove(&s, next);
    return next == NULL ? -1 : (int)(next - e);
}

static void nothing_waits_at_first(void **state) {
    (void)state;
    assert_int_equal(finish(SCHED_SHORT, 0), -1);
    assert_int_equal(finish(SCHED_LONG, 0), -1);
    assert_int_equal(sched_oldest_ns(&s, SCHED_LONG), 0);
}

static void the_most_urgent_always_goes_first(void **state) {
    (void)state;
    for (unsigned i = 0; i < SCHEDULER_LEVELS; i++)
        sched_put(&s, &e[i], SCHED_LONG, (i * 5 + 3) % SCHEDULER_LEVELS, 1000 + i);
    for (int round = 0; round < 20; round++)
        assert_int_equal(e[serve(SCHED_LONG, 2000 + round)].urgency, 0);
    for (int level = 0; level < SCHEDULER_LEVELS; level++)
        assert_int_equal((finish(SCHED_LONG, 3000) * 5 + 3) % SCHEDULER_LEVELS, level);
}

static void equals_go_in_the_order_they_came(void **state) {
    (void)state;
    for (int i = 0; i < MANY; i++)
        sched_put(&s, &e[i], SCHED_SHORT, 3, 1000);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(finish(SCHED_SHORT, 1000), i);
}

static void equals_take_turns(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++)
        sched_put(&s, &e[i], SCHED_LONG, 3, 1000);
    for (int turn = 0; turn < 30; turn++)
        assert_int_equal(serve(SCHED_LONG, 2000 + turn), turn % 3);
}

static void a_new_one_waits_for_one_round_at_most(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++)
        sched_put(&s, &e[i], SCHED_LONG, 3, 1000);
    serve(SCHED_LONG, 2000);
    sched_put(&s, &e[3], SCHED_LONG, 3, 2001);
    int turns = 1;
    while (serve(SCHED_LONG, 3000 + turns) != 3)
        turns++;
    assert_true(turns <= 4);
}

static void classes_do_not_mix(void **state) {
    (void)state;
    sched_put(&s, &e[0], SCHED_LONG, 0, 1);
    sched_put(&s, &e[1], SCHED_SHORT, 7, 1);
    assert_int_equal(s.count[SCHED_LONG], 1);
    assert_int_equal(s.count[SCHED_SHORT], 1);
    assert_int_equal(finish(SCHED_SHORT, 2), 1);
    assert_int_equal(finish(SCHED_SHORT, 2), -1);
    assert_int_equal(finish(SCHED_LONG, 2), 0);
}

static void waiting_raises_by_one_level_at_a_time(void **state) {
    (void)state;
    int urgency;
    sched_put(&s, &e[0], SCHED_LONG, 5, 1000);
    for (int level = 5; level > -4; level--) {
        int64_t now_ns = 1000 + (5 - level) * SCHEDULER_AGE_NS;
        sched_peek(&s, SCHED_LONG, now_ns, &urgency);
        assert_int_equal(urgency, level);
        sched_peek(&s, SCHED_LONG, now_ns + SCHEDULER_AGE_NS - 1, &urgency);
        assert_int_equal(urgency, level);
    }
}

static void a_very_long_wait_overflows_nothing(void **state) {
    (void)state;
    int urgency;
    sched_put(&s, &e[0], SCHED_LONG, 7, 0);
    assert_ptr_equal(sched_peek(&s, SCHED_LONG, INT64_MAX, &urgency), &e[0]);
    assert_true(urgency < 0);
}

/* The most urgent job has endless work, and is served every millisecond. */
static void nothing_starves(void **state) {
    (void)state;
    int64_t now_ns = 0;
    sched_put(&s, &e[0], SCHED_LONG, 0, 0);
    for (int i = 1; i <= 7; i++)
        sched_put(&s, &e[i], SCHED_LONG, (unsigned)i, 0);
    unsigned served[8] = {0};
    for (; now_ns < 100 * SCHEDULER_AGE_NS; now_ns += 1000000)
        served[serve(SCHED_LONG, now_ns)]++;
    for (int i = 1; i <= 7; i++)
        assert_in_range(served[i], 100 / (i + 1), 100 / i + 1); /* once in `i` ages, and a turn or two for the ties */
}

static void after_its_turn_an_aged_one_is_as_urgent_as_it_was(void **state) {
    (void)state;
    int64_t now_ns = 10 * SCHEDULER_AGE_NS;
    sched_put(&s, &e[7], SCHED_LONG, 7, 0);
    sched_put(&s, &e[0], SCHED_LONG, 0, now_ns);
    assert_int_equal(serve(SCHED_LONG, now_ns), 7);
    for (int i = 0; i < 10; i++)
        assert_int_equal(serve(SCHED_LONG, now_ns + i), 0);
}

static void any_entry_can_be_taken_out(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++)
        sched_put(&s, &e[i], SCHED_LONG, 3, 1000 + i);
    sched_remove(&s, &e[2]);
    sched_remove(&s, &e[2]);
    sched_remove(&s, &e[0]);
    sched_remove(&s, &e[4]);
    assert_int_equal(s.count[SCHED_LONG], 2);
    assert_int_equal(sched_oldest_ns(&s, SCHED_LONG), 1001);
    assert_int_equal(finish(SCHED_LONG, 2000), 1);
    assert_int_equal(finish(SCHED_LONG, 2000), 3);
    assert_int_equal(finish(SCHED_LONG, 2000), -1);
    sched_put(&s, &e[2], SCHED_SHORT, 1, 3000);
    assert_int_equal(finish(SCHED_SHORT, 3000), 2);
}

static void an_entry_is_in_one_queue_only(void **state) {
    (void)state;
    sched_put(&s, &e[0], SCHED_LONG, 3, 1000);
    sched_put(&s, &e[0], SCHED_SHORT, 0, 2000);
    assert_int_equal(s.count[SCHED_SHORT], 0);
    assert_int_equal(sched_oldest_ns(&s, SCHED_LONG), 1000);
    assert_int_equal(finish(SCHED_LONG, 3000), 0);
    assert_int_equal(finish(SCHED_LONG, 3000), -1);
}

static void an_urgency_out_of_range_is_the_least(void **state) {
    (void)state;
    sched_put(&s, &e[0], SCHED_LONG, 200, 1000);
    sched_put(&s, &e[1], SCHED_LONG, 7, 1001);
    assert_int_equal(finish(SCHED_LONG, 2000), 0);
    assert_int_equal(finish(SCHED_LONG, 2000), 1);
}

/* ---- tenants ----------------------------------------------------------------------------------------------------- */

enum { ANN, BOB, CARL, TENANTS };

static struct sched_tenant tenants[TENANTS];

static int empty_of_tenants(void **state) {
    memset(tenants, 0, sizeof tenants);
    return empty(state);
}

/* The entry i is that tenant's, and comes at that time. */
static void put_of(int tenant, int i, enum sched_class class, unsigned urgency, int64_t now_ns) {
    e[i].tenant = &tenants[tenant];
    sched_put(&s, &e[i], class, urgency, now_ns);
}

static struct sched_entry *next_of(enum sched_class class, int64_t now_ns) {
    int urgency;
    struct sched_entry *next = sched_peek(&s, class, now_ns, &urgency);
    if (next != NULL)
        sched_serve(&s, next, now_ns);
    return next;
}

static int index_of(const struct sched_entry *entry) {
    return entry == NULL ? -1 : (int)(entry - e);
}

/* As the jobs do it: a task of the entry is sent, and it has more. */
static int send(enum sched_class class, int64_t now_ns) {
    struct sched_entry *next = next_of(class, now_ns);
    if (next != NULL)
        sched_put_again(&s, next, (enum sched_class)next->class, next->urgency, now_ns);
    return index_of(next);
}

/* The same, and it was its last one. */
static int send_last(enum sched_class class, int64_t now_ns) {
    struct sched_entry *next = next_of(class, now_ns);
    if (next != NULL)
        sched_remove(&s, next);
    return index_of(next);
}

/* What is sent one after the other, a digit for each entry. */
static void assert_sent(const char *order) {
    for (int64_t now_ns = 5000; *order != '\0'; order++, now_ns++)
        assert_int_equal(send(SCHED_LONG, now_ns), *order - '0');
}

static void assert_all_empty(void) {
    assert_int_equal(s.tenants, 0);
    for (int class = 0; class < SCHED_CLASSES; class ++) {
        assert_int_equal(s.count[class], 0);
        for (unsigned level = 0; level < SCHEDULER_LEVELS; level++)
            assert_true(s.levels[class][level].all == NULL && s.levels[class][level].ring == NULL);
    }
    for (int t = 0; t < TENANTS; t++)
        assert_int_equal(tenants[t].count, 0);
}

static void a_tenant_waits_for_one_task_of_another_one_and_not_for_its_hundred_thousand(void **state) {
    (void)state;
    enum { HUGE = 100000 };
    struct sched_entry *many = calloc(HUGE, sizeof *many);
    for (int i = 0; i < HUGE; i++) {
        many[i].tenant = &tenants[ANN];
        sched_put(&s, &many[i], SCHED_SHORT, 3, 1000);
    }
    put_of(BOB, 0, SCHED_SHORT, 3, 2000);
    assert_ptr_equal(next_of(SCHED_SHORT, 2000), &many[0]);
    sched_remove(&s, &many[0]);
    assert_ptr_equal(next_of(SCHED_SHORT, 2000), &e[0]);
    sched_remove(&s, &e[0]);
    for (int i = 1; i < HUGE; i++) { /* and in the order they came */
        assert_ptr_equal(next_of(SCHED_SHORT, 2000), &many[i]);
        sched_remove(&s, &many[i]);
    }
    assert_all_empty();
    free(many);
}

static void the_entries_of_a_tenant_alternate_in_its_turns(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++)
        put_of(ANN, i, SCHED_LONG, 3, 1000);
    put_of(BOB, 3, SCHED_LONG, 3, 1000);
    put_of(BOB, 4, SCHED_LONG, 3, 1000);
    assert_sent("03142304132403");
}

static void those_without_a_tenant_are_one_more_tenant(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++)
        sched_put(&s, &e[i], SCHED_LONG, 3, 1000);
    put_of(BOB, 3, SCHED_LONG, 3, 1000);
    assert_sent("03132303");
}

static void weights_are_tasks_in_a_turn(void **state) {
    (void)state;
    tenants[ANN].weight = 3;
    put_of(ANN, 0, SCHED_LONG, 3, 1000);
    put_of(ANN, 1, SCHED_LONG, 3, 1000);
    put_of(BOB, 2, SCHED_LONG, 3, 1000);
    assert_sent("010210120102");
}

static void a_weight_holds_for_a_tenant_with_one_job_of_many_chunks(void **state) {
    (void)state;
    tenants[ANN].weight = 3;
    tenants[BOB].weight = 2;
    put_of(ANN, 0, SCHED_LONG, 3, 1000);
    put_of(BOB, 1, SCHED_LONG, 3, 1000);
    put_of(CARL, 2, SCHED_LONG, 3, 1000);
    assert_sent("000112000112");
}

static void a_weight_can_change_in_the_middle_of_a_turn(void **state) {
    (void)state;
    tenants[ANN].weight = 100;
    put_of(ANN, 0, SCHED_LONG, 3, 1000);
    put_of(BOB, 1, SCHED_LONG, 3, 1000);
    assert_sent("00000");
    tenants[ANN].weight = 2;
    assert_sent("0010010");
    tenants[ANN].weight = 3;
    assert_sent("010001");
}

/* What was taken out was cancelled, or is throttled: the turn is not over, and the next of the tenant has it. */
static void what_is_taken_out_has_had_no_turn(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++)
        put_of(ANN, i, SCHED_LONG, 3, 1000);
    put_of(BOB, 3, SCHED_LONG, 3, 1000);
    put_of(BOB, 4, SCHED_LONG, 3, 1000);
    sched_remove(&s, &e[0]);
    assert_sent("1");
    sched_remove(&s, &e[3]);
    assert_sent("42414");
    sched_remove(&s, &e[1]);
    sched_remove(&s, &e[2]);
    assert_sent("444");
}

static void moving_an_entry_to_the_tail_costs_its_tenant_nothing(void **state) {
    (void)state;
    put_of(ANN, 0, SCHED_LONG, 3, 1000);
    put_of(BOB, 1, SCHED_LONG, 3, 1000);
    put_of(CARL, 2, SCHED_LONG, 3, 1000);
    sched_put_again(&s, &e[0], SCHED_LONG, 3, 2000);
    assert_int_equal(e[0].since_ns, 2000);
    assert_sent("012");
    sched_put_again(&s, &e[0], SCHED_LONG, 4, 6000); /* elsewhere it is new */
    assert_sent("12");
    assert_int_equal(s.count[SCHED_LONG], 3);
    sched_put_again(&s, &e[0], SCHED_SHORT, 3, 7000);
    assert_int_equal(s.count[SCHED_LONG], 2);
    assert_int_equal(finish(SCHED_SHORT, 7000), 0);
}

static void a_tenant_that_comes_back_has_collected_nothing(void **state) {
    (void)state;
    tenants[ANN].weight = 3;
    put_of(ANN, 0, SCHED_LONG, 3, 1000);
    for (int i = 1; i < 4; i++)
        put_of(BOB, i, SCHED_LONG, 3, 1000);
    assert_int_equal(send_last(SCHED_LONG, 2000), 0); /* two tasks of its turn are lost */
    for (int i = 0; i < 10; i++)
        assert_int_equal(send(SCHED_LONG, 3000 + i), 1 + i % 3);
    put_of(ANN, 0, SCHED_LONG, 3, 4000);
    assert_sent("200030001");
}

/* One that comes for one task each time gets every second one at most. */
static void coming_back_again_and_again_is_no_way_round_the_turns(void **state) {
    (void)state;
    int served[2] = {0};
    put_of(BOB, 1, SCHED_LONG, 3, 1000);
    for (int64_t now_ns = 2000; now_ns < 3000; now_ns++) {
        put_of(ANN, 0, SCHED_LONG, 3, now_ns);
        int i = send(SCHED_LONG, now_ns);
        if (i == 0)
            sched_remove(&s, &e[0]);
        served[i]++;
    }
    assert_int_equal(served[0], 500);
    assert_int_equal(served[1], 500);
}

static void an_urgent_one_does_not_wait_for_the_old_backlog_of_another_tenant(void **state) {
    (void)state;
    int64_t now_ns = 20 * SCHEDULER_AGE_NS;
    for (int i = 0; i < 5; i++)
        put_of(ANN, i, SCHED_LONG, 3, 1000);
    assert_int_equal(send(SCHED_LONG, now_ns), 0); /* its turns come one after the other, but the entries are old */
    put_of(BOB, 9, SCHED_LONG, 2, now_ns);
    put_of(ANN, 5, SCHED_LONG, 0, now_ns);
    assert_int_equal(send_last(SCHED_LONG, now_ns), 5);
    assert_int_equal(send_last(SCHED_LONG, now_ns), 9);
    /* Alone again, ANN is served as if there were no tenants: the oldest first. */
    put_of(ANN, 6, SCHED_LONG, 0, now_ns);
    assert_int_equal(send(SCHED_LONG, now_ns), 1);
}

/* Two tenants have endless work of the most urgent level; CARL has two jobs of the least urgent one. */
static void the_least_urgent_of_any_tenant_gets_its_turn(void **state) {
    (void)state;
    unsigned served[MANY] = {0};
    for (int i = 0; i < 4; i++)
        put_of(i % 2 == 0 ? ANN : BOB, i, SCHED_LONG, 0, 0);
    put_of(CARL, 4, SCHED_LONG, 7, 0);
    put_of(CARL, 5, SCHED_LONG, 7, 0);
    for (int64_t now_ns = 0; now_ns < 141 * SCHEDULER_AGE_NS; now_ns += SCHEDULER_AGE_NS / 100)
        served[send(SCHED_LONG, now_ns)]++;
    assert_in_range(served[4] + served[5], 18, 20); /* once in 7 ages */
    assert_in_range(served[4], 9, 10);
    for (int i = 0; i < 4; i++)
        assert_in_range(served[i], (14100 - 20) / 4 - 1, 14100 / 4);
}

/* Each has waited as long as the others, so each gets a turn then. */
static void tenants_that_have_aged_together_are_served_together(void **state) {
    (void)state;
    int64_t now_ns = 7 * SCHEDULER_AGE_NS;
    put_of(ANN, 0, SCHED_LONG, 7, 0);
    put_of(BOB, 1, SCHED_LONG, 7, 0);
    put_of(CARL, 2, SCHED_LONG, 0, now_ns);
    assert_int_equal(send(SCHED_LONG, now_ns), 0);
    assert_int_equal(send(SCHED_LONG, now_ns), 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(send(SCHED_LONG, now_ns), 2);
}

/* To keep the place of a tenant in the ring with entries that come and go makes nobody else wait longer. */
static void replacing_an_entry_does_not_hold_up_a_level(void **state) {
    (void)state;
    int urgency;
    put_of(ANN, 0, SCHED_LONG, 7, 0);
    put_of(BOB, 2, SCHED_LONG, 7, 0);
    for (int64_t age = 1; age <= 5; age++) {
        put_of(ANN, (int)age % 2, SCHED_LONG, 7, age * SCHEDULER_AGE_NS);
        sched_remove(&s, &e[(age + 1) % 2]);
        sched_peek(&s, SCHED_LONG, age * SCHEDULER_AGE_NS, &urgency);
        assert_int_equal(urgency, 7 - age);
    }
}

static void the_oldest_entry_is_known_of_all_and_of_each_tenant(void **state) {
    (void)state;
    assert_int_equal(sched_tenant_oldest_ns(&tenants[ANN]), 0);
    put_of(BOB, 0, SCHED_LONG, 3, 1000);
    put_of(ANN, 1, SCHED_LONG, 3, 2000);
    put_of(ANN, 2, SCHED_SHORT, 0, 3000);
    assert_int_equal(sched_oldest_ns(&s, SCHED_LONG), 1000);
    assert_int_equal(sched_level_oldest_ns(&s, &e[1]), 1000);
    assert_int_equal(sched_tenant_oldest_ns(&tenants[ANN]), 2000);
    assert_int_equal(sched_tenant_oldest_ns(&tenants[BOB]), 1000);
    sched_remove(&s, &e[1]);
    assert_int_equal(sched_tenant_oldest_ns(&tenants[ANN]), 3000);
    sched_remove(&s, &e[0]);
    sched_remove(&s, &e[2]);
    assert_int_equal(sched_tenant_oldest_ns(&tenants[ANN]), 0);
    assert_all_empty();
}

/* A service without keys: what is served next is what a search for the most urgent and longest-waiting entry finds. */
static int search(enum sched_class class, int64_t now_ns) {
    int best = -1;
    int64_t best_urgency = 0;
    for (int i = 0; i < MANY; i++) {
        int64_t urgency = e[i].urgency - (now_ns - e[i].since_ns) / SCHEDULER_AGE_NS;
        if (!e[i].queued || e[i].class != class)
            continue;
        if (best < 0 || urgency < best_urgency || (urgency == best_urgency && e[i].since_ns < e[best].since_ns)) {
            best = i;
            best_urgency = urgency;
        }
    }
    return best;
}

static void serve_at_random(struct sched_tenant *only) {
    int64_t now_ns = 1;
    for (int step = 0; step < 20000; step++, now_ns += 2 + rand() % (SCHEDULER_AGE_NS / 4)) {
        enum sched_class class = (enum sched_class)(rand() % SCHED_CLASSES);
        struct sched_entry *any = &e[rand() % MANY];
        any->tenant = only;
        if (rand() % 4 == 0)
            sched_remove(&s, any);
        else if (rand() % 2 == 0)
            sched_put_again(&s, any, class, (unsigned)rand() % SCHEDULER_LEVELS, now_ns);
        int64_t then_ns = now_ns + 1; /* no two entries came at the same time */
        int expected = search(class, then_ns);
        assert_int_equal(rand() % 2 == 0 ? send(class, then_ns) : send_last(class, then_ns), expected);
    }
}

static void one_tenant_is_served_as_if_there_were_none(void **state) {
    srand(1);
    serve_at_random(NULL);
    empty_of_tenants(state);
    tenants[ANN].weight = 7;
    serve_at_random(&tenants[ANN]);
}

/* Whatever comes, goes and is moved: while a tenant waits, another one gets no more than the tasks of one turn. */
static void nobody_is_passed_over_whatever_happens(void **state) {
    (void)state;
    unsigned since[TENANTS][TENANTS] = {{0}}; /* since the first had a task or came: tasks of the second */
    srand(2);
    for (int t = 0; t < TENANTS; t++)
        tenants[t].weight = (unsigned)(1 + 2 * t);
    for (int64_t now_ns = 1; now_ns < 100000; now_ns++) {
        int i = rand() % MANY, tenant = i % TENANTS;
        if (tenants[tenant].count == 0)
            memset(since[tenant], 0, sizeof since[tenant]);
        if (rand() % 3 == 0)
            sched_remove(&s, &e[i]);
        else if (rand() % 3 == 0)
            put_of(tenant, i, SCHED_LONG, 3, now_ns);
        else if (e[i].queued)
            sched_put_again(&s, &e[i], SCHED_LONG, 3, now_ns);
        int sent = rand() % 2 == 0 ? send(SCHED_LONG, now_ns) : send_last(SCHED_LONG, now_ns);
        if (sent < 0)
            continue;
        memset(since[sent % TENANTS], 0, sizeof since[0]);
        for (int t = 0; t < TENANTS; t++) {
            since[t][sent % TENANTS] += t != sent % TENANTS && tenants[t].count > 0;
            assert_true(since[t][sent % TENANTS] <= tenants[sent % TENANTS].weight);
        }
    }
    for (int i = 0; i < MANY; i++)
        sched_remove(&s, &e[i]);
    assert_all_empty();
}

#define TEST(name)            cmocka_unit_test_setup(name, empty)
#define TEST_OF_TENANTS(name) cmocka_unit_test_setup(name, empty_of_tenants)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(nothing_waits_at_first),
        TEST(the_most_urgent_always_goes_first),
        TEST(equals_go_in_the_order_they_came),
        TEST(equals_take_turns),
        TEST(a_new_one_waits_for_one_round_at_most),
        TEST(classes_do_not_mix),
        TEST(waiting_raises_by_one_level_at_a_time),
        TEST(a_very_long_wait_overflows_nothing),
        TEST(nothing_starves),
        TEST(after_its_turn_an_aged_one_is_as_urgent_as_it_was),
        TEST(any_entry_can_be_taken_out),
        TEST(an_entry_is_in_one_queue_only),
        TEST(an_urgency_out_of_range_is_the_least),
        TEST_OF_TENANTS(a_tenant_waits_for_one_task_of_another_one_and_not_for_its_hundred_thousand),
        TEST_OF_TENANTS(the_entries_of_a_tenant_alternate_in_its_turns),
        TEST_OF_TENANTS(those_without_a_tenant_are_one_more_tenant),
        TEST_OF_TENANTS(weights_are_tasks_in_a_turn),
        TEST_OF_TENANTS(a_weight_holds_for_a_tenant_with_one_job_of_many_chunks),
        TEST_OF_TENANTS(a_weight_can_change_in_the_middle_of_a_turn),
        TEST_OF_TENANTS(what_is_taken_out_has_had_no_turn),
        TEST_OF_TENANTS(moving_an_entry_to_the_tail_costs_its_tenant_nothing),
        TEST_OF_TENANTS(a_tenant_that_comes_back_has_collected_nothing),
        TEST_OF_TENANTS(coming_back_again_and_again_is_no_way_round_the_turns),
        TEST_OF_TENANTS(an_urgent_one_does_not_wait_for_the_old_backlog_of_another_tenant),
        TEST_OF_TENANTS(the_least_urgent_of_any_tenant_gets_its_turn),
        TEST_OF_TENANTS(tenants_that_have_aged_together_are_served_together),
        TEST_OF_TENANTS(replacing_an_entry_does_not_hold_up_a_level),
        TEST_OF_TENANTS(the_oldest_entry_is_known_of_all_and_of_each_tenant),
        TEST_OF_TENANTS(one_tenant_is_served_as_if_there_were_none),
        TEST_OF_TENANTS(nobody_is_passed_over_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
