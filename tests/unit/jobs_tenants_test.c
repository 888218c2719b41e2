/* jobs_tenants_test.c: jobs of several tenants: whose turn it is, how much room each of them takes, and what it pays. See
 * server/jobs/tenants.c; scheduler_test.c has the turns themselves. */
#include "tests/unit/jobs_world.h"
#include "tests/unit/store_kept.h"

#include "server/jobs/queue.h"

enum { MOST = 64 };

static struct client clients[MOST];
static unsigned count;

/* The jobs of all that was sent, as far as it is noted. A task is forgotten when it is answered. */
static const struct job *noted[FAKE_SENT];
static size_t noted_count;

/* ---- the keys ---------------------------------------------------------------------------------------------------- */

static unsigned ann_weight, bob_weight, weight_asked;
static int64_t ann_paid_ns, bob_paid_ns;

static unsigned weigh(void *arg, const char *name) {
    assert_ptr_equal(arg, &count);
    weight_asked++;
    return strcmp(name, "ann") == 0 ? ann_weight : strcmp(name, "bob") == 0 ? bob_weight : 1;
}

static void charge(void *arg, const char *name, int64_t cpu_ns) {
    assert_ptr_equal(arg, &count);
    assert_true(cpu_ns > 0);
    *(strcmp(name, "ann") == 0 ? &ann_paid_ns : &bob_paid_ns) += cpu_ns;
}

static void set_tenants(void) {
    jobs_set_tenants(jobs, &(struct jobs_tenants){&count, weigh, charge});
}

static int open_tenants(void **state) {
    open_world(state);
    count = weight_asked = 0;
    noted_count = 0;
    ann_weight = bob_weight = 1;
    ann_paid_ns = bob_paid_ns = 0;
    set_tenants();
    return 0;
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static struct client *add_of(const char *tenant) {
    assert_in_range(count, 0, MOST - 1);
    submit_of(tenant, &clients[count]);
    return &clients[count++];
}

static void add_many(const char *tenant, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        add_of(tenant);
}

static void leave_all(void) {
    for (unsigned i = 0; i < count; i++) {
        if (clients[i].job != NULL)
            job_cancel(clients[i].job);
        for (size_t k = 0; clients[i].job != NULL && k < fake.count; k++)
            if (!fake.sent[k].answered && fake.sent[k].stopped != STOP_NONE)
                reply_cancelled(&fake.sent[k]);
        assert_null(clients[i].job);
        leave(&clients[i]);
    }
    count = 0;
}

/* Sends what can be sent, and notes whose it is. */
static void send_on(void) {
    dispatch();
    for (; noted_count < fake.count; noted_count++) {
        const struct task *t = fake.sent[noted_count].task;
        noted[noted_count] = t == NULL ? NULL : t->job;
    }
}

/* Whose tasks of that kind were sent, from the `from`-th message on: the first letter of each; '-': nobody's. None of
 * these jobs has ended. */
static void assert_sent(uint8_t kind, size_t from, const char *order) {
    char sent[MOST * 2 + 1] = "";
    size_t n = 0;
    for (size_t i = from; i < noted_count && n < sizeof sent - 1; i++) {
        if (fake.sent[i].header.kind != kind)
            continue;
        const char *tenant = noted[i]->record->tenant;
        sent[n++] = tenant == NULL ? '-' : tenant[0];
    }
    assert_string_equal(sent, order);
}

/* Has the plans of all that waits sent and answered: that many long chunks each. */
static void plan_all(uint32_t chunks) {
    struct fake_sent *s;
    send_on();
    while ((s = find_sent(WIRE_PLAN, 0)) != NULL)
        reply_plan(s, chunks, LONG_NS);
}

/* The chunk that was sent first and is not answered is done, and what comes next is sent. */
static void go_on(void) {
    reply_done(find_sent(WIRE_RUN, 0), "1");
    send_on();
}

/* ---- how long it takes ------------------------------------------------------------------------------------------- */

static void when_the_next_job_ends_is_known_by_those_of_its_tenant(void **state) {
    (void)state;
    int64_t s = NS_PER_S, now = 1000 * s;
    struct tenant *t = tenants_join(&jobs->tenants, "ann", now);
    assert_int_equal(tenant_next_end_ns(t, now + s), 0); /* none has ended */
    now += 40 * s;
    tenant_count_end(t, now);
    assert_int_equal(tenant_next_end_ns(t, now), 40 * s);
    assert_int_equal(tenant_next_end_ns(t, now + 30 * s), 10 * s);
    assert_int_equal(tenant_next_end_ns(t, now + 70 * s), 30 * s); /* it is late, and it takes as long again */
    now += 80 * s;
    tenant_count_end(t, now);
    assert_int_equal(tenant_next_end_ns(t, now), 50 * s);
    tenants_leave(&jobs->tenants, t);
    t = tenants_join(&jobs->tenants, "ann", now + 10000 * s); /* when it had no jobs does not count */
    assert_int_equal(tenant_next_end_ns(t, now + 10010 * s), 40 * s);
    tenants_leave(&jobs->tenants, t);
}

static void how_long_a_key_has_to_wait_does_not_depend_on_others_jobs(void **state) {
    (void)state;
    int64_t now = clock_monotonic_ns();
    add_of("ann");
    add_of("bob");
    tenant_count_end(tenants_find(&jobs->tenants, "ann"), now + 100 * NS_PER_S);
    for (int i = 0; i < 10; i++)
        tenant_count_end(tenants_find(&jobs->tenants, "bob"), now);
    assert_in_range(jobs_tenant_retry_after_s(jobs, "ann"), 100, 200);
    assert_int_equal(jobs_tenant_retry_after_s(jobs, "bob"), 1);
    assert_int_equal(jobs_tenant_retry_after_s(jobs, "eve"), jobs_retry_after_s(jobs));
    leave_all();
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

static void short_tasks_of_tenants_take_turns(void **state) {
    (void)state;
    add_many("ann", 6);
    add_many(NULL, 2);
    add_many("bob", 3);
    send_on();
    assert_sent(WIRE_PLAN, 0, "a-ba-babaaa");
    leave_all();
}

static void a_weight_is_that_many_tasks_and_a_reload_changes_it(void **state) {
    (void)state;
    ann_weight = 3;
    add_many("ann", 7);
    add_many("bob", 5);
    send_on();
    assert_sent(WIRE_PLAN, 0, "aaabaaababbb");
    assert_int_equal(weight_asked, 2); /* when each of them came */
    size_t from = fake.count;
    ann_weight = 0; /* out of range: 1 */
    bob_weight = 2;
    jobs_configure(jobs, &config);
    assert_int_equal(weight_asked, 4);
    assert_int_equal(tenants_find(&jobs->tenants, "ann")->turns.weight, 1);
    add_many("bob", 5);
    add_many("ann", 3);
    send_on();
    assert_sent(WIRE_PLAN, from, "bbabbaba");
    ann_weight = 1000;
    jobs_configure(jobs, &config);
    assert_int_equal(tenants_find(&jobs->tenants, "ann")->turns.weight, 100);
    jobs_set_tenants(jobs, &(struct jobs_tenants){0});
    assert_int_equal(tenants_find(&jobs->tenants, "ann")->turns.weight, 1);
    leave_all();
}

/* The long chunks of one job of bob's alternate with those of four jobs of ann's. */
static void long_chunks_of_tenants_take_turns(void **state) {
    (void)state;
    add_many("ann", 4);
    add_of("bob");
    plan_all(8);
    size_t from = fake.count;
    send_on();
    for (int i = 0; i < 10; i++)
        go_on();
    assert_sent(WIRE_RUN, from, "abababababab");
    leave_all();
}

static void a_weight_holds_for_long_chunks_of_one_job(void **state) {
    (void)state;
    bob_weight = 3;
    add_many("ann", 4);
    add_of("bob");
    plan_all(12);
    size_t from = fake.count;
    send_on();
    for (int i = 0; i < 10; i++)
        go_on();
    assert_sent(WIRE_RUN, from, "abbbabbbabbb");
    leave_all();
}

/* Small chunks are sent several at a time: that is one task of the turn, like a chunk that fills the same time. */
static void several_small_chunks_at_once_are_one_task_of_a_turn(void **state) {
    (void)state;
    ann_weight = 3;
    add_many("ann", 3);
    add_many("bob", 3);
    dispatch();
    struct fake_sent *s;
    while ((s = find_sent(WIRE_PLAN, 0)) != NULL)
        reply_plan(s, 60, SHORT_NS);
    size_t from = fake.count;
    char order[16] = "";
    send_on();
    for (int batch = 2; batch < 8; batch++) {
        struct worker *w = find_sent(WIRE_RUN, 0)->worker;
        for (size_t i = 0, end = fake.count; i < end; i++)
            if (fake.sent[i].header.kind == WIRE_RUN && !fake.sent[i].answered && fake.sent[i].worker == w)
                reply_done(&fake.sent[i], "1");
        send_on();
    }
    for (size_t i = from; i < noted_count; i++) /* a letter for each time that a worker went on with another job */
        if (i == from || noted[i - 1] != noted[i])
            order[strlen(order)] = noted[i]->record->tenant[0];
    assert_string_equal(order, "aaabaaab");
    leave_all();
}

/* A throttled job and a cancelled one leave the turn to the next of the tenant. */
static void what_takes_no_turn_costs_its_tenant_none(void **state) {
    (void)state;
    add_many("ann", 3);
    add_many("bob", 3);
    plan_all(4);
    size_t from = fake.count;
    job_throttle(clients[0].job);
    job_cancel(clients[3].job);
    send_on();
    assert_sent(WIRE_RUN, from, "ab");
    assert_ptr_equal(noted[from], clients[1].job);
    assert_ptr_equal(noted[from + 1], clients[4].job);
    job_unthrottle(clients[0].job);
    for (int i = 0; i < 4; i++)
        go_on();
    assert_sent(WIRE_RUN, from, "ababab");
    leave_all();
}

/* Isolated jobs and long ones are in two classes, but the tenants take turns between them, too. */
static void an_isolated_job_does_not_wait_for_the_long_backlog_of_another_tenant(void **state) {
    (void)state;
    struct submission s = plain();
    add_many("ann", 5);
    plan_all(4);
    send_on();
    for (unsigned i = 0; i < count; i++) /* they have waited for a minute */
        clients[i].job->sched.since_ns -= 60 * NS_PER_S;
    s.options.isolated = 1;
    submit_for(&clients[count++], "bob", &s, true);
    struct client *bob = &clients[count - 1];
    size_t from = fake.count;
    for (int i = 0; i < 2; i++) {
        loop_step(loop, NS_PER_MS);
        go_on();
    }
    assert_sent(WIRE_RUN, from, "a");
    assert_int_equal(bob->job->isolated_workers, 1);
    leave_all();
}

static void the_estimated_start_is_that_of_turns(void **state) {
    (void)state;
    add_many("ann", 20);
    plan_all(4);
    dispatch();
    struct client *bob = add_of("bob"), *nobody = add_of(NULL);
    plan_all(4);
    int64_t ann_ms = job_look(clients[19].job).estimated_start_ms, bob_ms = job_look(bob->job).estimated_start_ms;
    int64_t all_ms = (int64_t)(LONG_NS / NS_PER_MS) * 20 / FAKE_MAIN; /* what waits takes so long */
    assert_true(ann_ms - bob_ms > all_ms / 2);
    assert_true(job_look(nobody->job).estimated_start_ms - bob_ms > all_ms / 2);
    leave_all();
}

/* ---- room -------------------------------------------------------------------------------------------------------- */

/* Whether a job of that tenant is accepted. */
static bool is_accepted(const char *tenant, int64_t delay_ms) {
    struct submission s = plain();
    struct job_request q = {.submission = &s, .default_priority = -1, .asynchronous = true, .tenant = tenant};
    struct job *job;
    enum problem_code why;
    s.options.delay_ms = delay_ms;
    if (jobs_submit(jobs, &q, &job, &why) != 0) {
        assert_int_equal(why, PROBLEM_QUEUE_FULL);
        return false;
    }
    follow(&clients[count++], job);
    return true;
}

static void a_tenth_of_the_queue_is_left_to_other_tenants(void **state) {
    (void)state;
    config.max_queue = config.max_delayed = 20;
    jobs_configure(jobs, &config);
    for (int delayed = 0; delayed < 2; delayed++) {
        int64_t delay_ms = delayed * 60000;
        for (int i = 0; i < 18; i++)
            assert_true(is_accepted("ann", delay_ms));
        assert_false(is_accepted("ann", delay_ms));
        assert_true(is_accepted("bob", delay_ms));
        assert_false(is_accepted("ann", delay_ms));
        assert_true(is_accepted(NULL, delay_ms));
        assert_false(is_accepted("bob", delay_ms)); /* it is full */
        assert_false(is_accepted(NULL, delay_ms));
        assert_int_equal(jobs_of_tenant(jobs, "ann"), 18 + 18 * delayed);
    }
    leave_all();
}

static void without_tenants_all_of_the_queue_can_be_used(void **state) {
    (void)state;
    config.max_queue = 20;
    jobs_configure(jobs, &config);
    for (int i = 0; i < 20; i++)
        assert_true(is_accepted(NULL, 0));
    assert_false(is_accepted(NULL, 0));
    leave_all();
}

static void a_small_queue_has_room_for_others_too(void **state) {
    (void)state;
    static const struct {
        uint64_t most, share;
    } shares[] = {
        {0, 0}, {1, 1}, {2, 1}, {3, 2}, {10, 9}, {11, 9}, {20, 18}, {1000, 900}, {UINT64_MAX, UINT64_MAX / 10 * 9 + 4}};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++)
        assert_int_equal(tenants_share(shares[i].most), shares[i].share);
}

static void a_raw_body_that_is_one_delayed_job_too_many_of_its_tenant_is_not_accepted(void **state) {
    (void)state;
    struct submission found = plain();
    config.max_delayed = 10;
    jobs_configure(jobs, &config);
    for (int i = 0; i < 9; i++)
        assert_true(is_accepted("ann", 60000));
    found.options.delay_ms = 60000;
    for (int tenant = 0; tenant < 2; tenant++) {
        struct job_request q = {.body = slice_all(blob_copy("{...}", 5)), .tenant = tenant == 0 ? "ann" : "bob"};
        struct client c;
        submit_request(&c, &q);
        slice_deinit(&q.body);
        dispatch();
        struct fake_sent *s;
        for (unsigned n = 0; (s = find_sent(WIRE_PLAN, n)) != NULL; n++)
            if (((struct task *)s->task)->job == c.job)
                break;
        reply_plan_of(s, 1, LONG_NS, &found);
        assert_int_equal(c.rejected, tenant == 0);
        if (c.job != NULL)
            job_cancel(c.job);
        leave(&c);
    }
    leave_all();
}

/* Ann's jobs have waited for too long: she gets no more of them in. Bob's would not wait for them. */
static void a_queue_that_is_too_old_is_so_for_its_tenant_alone(void **state) {
    (void)state;
    struct client *ann = add_of("ann");
    config.max_queue_age_ns = NS_PER_S;
    jobs_configure(jobs, &config);
    assert_true(is_accepted("ann", 0));
    ann->job->sched.since_ns -= 60 * NS_PER_S;
    assert_false(is_accepted("ann", 0));
    assert_true(is_accepted("bob", 0));
    assert_true(is_accepted("bob", 0));
    assert_false(is_accepted(NULL, 0)); /* one without a key waits for all */
    leave_all();
}

/* ---- live jobs --------------------------------------------------------------------------------------------------- */

static void a_tenant_is_known_as_long_as_it_has_a_live_job(void **state) {
    (void)state;
    size_t held = held_bytes[HELD_JOBS];
    assert_int_equal(jobs_of_tenant(jobs, "ann"), 0);
    add_many("ann", 2);
    add_of(NULL);
    assert_true(is_accepted("ann", 60000));
    assert_int_equal(jobs_of_tenant(jobs, "ann"), 3);
    assert_int_equal(jobs_of_tenant(jobs, "bob"), 0);
    assert_int_equal(jobs_of_tenant(jobs, ""), 0);
    job_cancel(clients[0].job);
    assert_int_equal(jobs_of_tenant(jobs, "ann"), 2);
    plan_all(1);
    assert_int_equal(jobs_of_tenant(jobs, "ann"), 2);
    fire(&clients[3].job->timer); /* its delay is over */
    assert_int_equal(tenants_find(&jobs->tenants, "ann")->delayed, 0);
    dispatch();
    while (find_sent(WIRE_RUN, 0) != NULL)
        go_on();
    assert_int_equal(jobs_of_tenant(jobs, "ann"), 0);
    assert_int_equal(held_bytes[HELD_JOBS], held);
    add_of("ann");
    assert_int_equal(jobs_of_tenant(jobs, "ann"), 1);
    leave_all();
    assert_int_equal(weight_asked, 1);
}

/* Some are kept, because they come again; the memory for that is bounded, however many names there are. */
static void only_some_tenants_are_kept_without_a_job(void **state) {
    (void)state;
    char name[16];
    struct client *c;
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "tenant-%d", i);
        c = add_of(name);
        job_cancel(c->job);
        leave(c);
        count = 0;
    }
    assert_int_equal(HASH_COUNT(jobs->tenants.by_name), 64);
    assert_int_equal(jobs->tenants.idle, 64);
    c = add_of("tenant-0");
    assert_int_equal(jobs->tenants.idle, 63);
    leave_all();
    assert_int_equal(jobs->tenants.idle, 64);
}

/* Each with its jobs: the store has them as they were submitted. */
static void the_next_process_recovers_whose_jobs_they_are(void **state) {
    struct store *kept = kept_open();
    (void)state;
    close_jobs();
    open_jobs(kept, true);
    set_tenants();
    add_many("ann", 4);
    add_many("bob", 2);
    add_of(NULL);
    for (unsigned i = 0; i < count; i++)
        make_durable(&clients[i]);
    plan_all(2);
    for (unsigned i = 0; i < count; i++)
        job_unwait(&clients[i].waiter);
    int64_t paid_ns = ann_paid_ns;
    close_jobs();
    open_jobs(kept, true);
    noted_count = 0;
    ann_weight = 3;
    set_tenants();
    assert_int_equal(jobs_recover(jobs), 0);
    assert_int_equal(jobs_of_tenant(jobs, "ann"), 4);
    assert_int_equal(jobs_of_tenant(jobs, "bob"), 2);
    assert_int_equal(ann_paid_ns, paid_ns); /* the plans were charged when they were made */
    for (unsigned i = 0; i < count; i++) {
        clients[i].job = jobs_find(jobs, &clients[i].record->id, clients[i].record->tenant);
        assert_non_null(clients[i].job);
        job_wait(clients[i].job, &clients[i].waiter);
    }
    send_on();
    for (int i = 0; i < 5; i++)
        go_on();
    assert_sent(WIRE_RUN, 0, "aaab-aa");
    leave_all();
    close_jobs();
    kept_close(kept);
    open_world(state);
}

/* ---- what is paid ------------------------------------------------------------------------------------------------ */

/* WIRE_PLANNED of a plan that took that long. */
static void reply_plan_took(struct fake_sent *s, uint32_t chunks, uint64_t cpu_ns) {
    struct wire_plan head = {.type = TOY_PLAIN, .chunks = chunks, .cpu_ns = cpu_ns};
    struct buf body = {0};
    write_plan(&body, head, LONG_NS, NULL);
    assert_true(say(s, WIRE_PLANNED, &body));
    buf_deinit(&body);
}

static void a_tenant_pays_for_plans_chunks_and_merges(void **state) {
    (void)state;
    struct client *ann = add_of("ann"), *nobody = add_of(NULL);
    dispatch();
    reply_plan_took(find_sent(WIRE_PLAN, 0), 2, 500);
    reply_plan_took(find_sent(WIRE_PLAN, 0), 2, 500);
    assert_int_equal(ann_paid_ns, 500);
    run_to_end();
    assert_ended(ann, JOB_SUCCEEDED);
    assert_ended(nobody, JOB_SUCCEEDED);
    assert_true(ann_paid_ns > 500);
    assert_int_equal(ann_paid_ns, ann->record->cpu_ns);
    assert_int_equal(nobody->record->cpu_ns, ann->record->cpu_ns);
    assert_int_equal(bob_paid_ns, 0);
    leave_all();
}

static void a_tenant_pays_for_a_raw_body_and_for_a_job_that_is_done_in_one_go(void **state) {
    (void)state;
    struct submission s = plain();
    struct job_request q = {.body = slice_all(blob_copy("{...}", 5)), .default_priority = -1, .tenant = "ann"};
    submit_request(&clients[count++], &q);
    slice_deinit(&q.body);
    dispatch();
    assert_true(say_parsed(LAST, (struct wire_plan){.type = TOY_PLAIN, .cpu_ns = 300}, &s, "params"));
    assert_int_equal(ann_paid_ns, 300);
    assert_int_equal(clients[0].record->cpu_ns, 300);
    submit_for(&clients[count++], "bob", &s, false);
    dispatch();
    struct fake_sent *go = find_sent(WIRE_PLAN, 1);
    assert_true(go->header.flags & WIRE_GO);
    reply_done(go, "{}");
    assert_ended(&clients[1], JOB_SUCCEEDED);
    assert_true(bob_paid_ns > 0);
    assert_int_equal(bob_paid_ns, clients[1].record->cpu_ns);
    leave_all();
}

/* Of a lost task what its process has spent counts, but not more than the time that it had. */
static void a_tenant_pays_for_what_is_lost_and_for_what_comes_too_late(void **state) {
    (void)state;
    add_of("ann");
    plan_all(3);
    dispatch();
    struct fake_sent *first = find_sent(WIRE_RUN, 0), *second = find_sent(WIRE_RUN, 1);
    ((struct task *)first->task)->sent_ns = clock_monotonic_ns() - 3600 * NS_PER_S;
    die(first, true, "signal"); /* 12 ms */
    assert_int_equal(ann_paid_ns, 12 * NS_PER_MS);
    ((struct task *)second->task)->sent_ns = clock_monotonic_ns() + NS_PER_S; /* no time at all */
    die(second, true, "signal");
    assert_int_equal(ann_paid_ns, 12 * NS_PER_MS);
    restart_workers();
    struct fake_sent *innocent = find_sent(WIRE_RUN, 0), *late = find_sent(WIRE_RUN, 1);
    die(innocent, false, "signal");
    assert_int_equal(ann_paid_ns, 12 * NS_PER_MS);
    job_cancel(clients[0].job);
    reply_done(late, "1");
    assert_in_range(ann_paid_ns, 12 * NS_PER_MS + 1, 12 * NS_PER_MS + 4);
    leave_all();
}

/* Else a client could let its jobs work for nothing, and cancel them before their end. */
static void a_tenant_pays_for_what_it_cancels(void **state) {
    (void)state;
    add_of("ann");
    plan_all(1);
    dispatch();
    struct fake_sent *s = find_sent(WIRE_RUN, 0);
    struct task *t = s->task;
    int64_t before_ns = ann_paid_ns;
    t->sent_ns = clock_monotonic_ns() - 7 * NS_PER_S;
    t->cost_ns = 0; /* a long task */
    job_cancel(clients[0].job);
    reply_cancelled(s);
    assert_in_range(ann_paid_ns - before_ns, 7 * NS_PER_S, 8 * NS_PER_S);
    leave_all();
}

#define TENANTS_TEST(name) cmocka_unit_test_setup_teardown(name, open_tenants, close_world)

int main(void) {
    const struct CMUnitTest tests[] = {
        TENANTS_TEST(when_the_next_job_ends_is_known_by_those_of_its_tenant),
        TENANTS_TEST(how_long_a_key_has_to_wait_does_not_depend_on_others_jobs),
        TENANTS_TEST(short_tasks_of_tenants_take_turns),
        TENANTS_TEST(a_weight_is_that_many_tasks_and_a_reload_changes_it),
        TENANTS_TEST(long_chunks_of_tenants_take_turns),
        TENANTS_TEST(a_weight_holds_for_long_chunks_of_one_job),
        TENANTS_TEST(several_small_chunks_at_once_are_one_task_of_a_turn),
        TENANTS_TEST(what_takes_no_turn_costs_its_tenant_none),
        TENANTS_TEST(an_isolated_job_does_not_wait_for_the_long_backlog_of_another_tenant),
        TENANTS_TEST(the_estimated_start_is_that_of_turns),
        TENANTS_TEST(a_tenth_of_the_queue_is_left_to_other_tenants),
        TENANTS_TEST(without_tenants_all_of_the_queue_can_be_used),
        TENANTS_TEST(a_small_queue_has_room_for_others_too),
        TENANTS_TEST(a_raw_body_that_is_one_delayed_job_too_many_of_its_tenant_is_not_accepted),
        TENANTS_TEST(a_queue_that_is_too_old_is_so_for_its_tenant_alone),
        TENANTS_TEST(a_tenant_is_known_as_long_as_it_has_a_live_job),
        TENANTS_TEST(only_some_tenants_are_kept_without_a_job),
        TENANTS_TEST(the_next_process_recovers_whose_jobs_they_are),
        TENANTS_TEST(a_tenant_pays_for_plans_chunks_and_merges),
        TENANTS_TEST(a_tenant_pays_for_a_raw_body_and_for_a_job_that_is_done_in_one_go),
        TENANTS_TEST(a_tenant_pays_for_what_is_lost_and_for_what_comes_too_late),
        TENANTS_TEST(a_tenant_pays_for_what_it_cancels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
