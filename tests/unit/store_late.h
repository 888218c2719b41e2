/* store_late.h: a store for the tests of jobs. It answers when the test says so, in any order, or says at once that it
 * cannot write. It notes the calls, and keeps nothing else. Include jobs_world.h before this file.
 *
 *     submit(&c, true);
 *     make_durable(&c);
 *     job_cancel(c.job);
 *     answer_store(STORE_OK);                      // the first call: the submission
 *     answer_store(STORE_OK);                      // the end
 *     assert_string_equal(late.calls, "SF");
 */
#ifndef OFFLOAD_TEST_STORE_LATE_H
#define OFFLOAD_TEST_STORE_LATE_H

#include <stdio.h>

static struct late {
    struct store store;
    char calls[256]; /* a letter for each: S submit, F finish, X forget, c complete, l lost, p plan, u update */
    struct {
        char call; /* '\0': it was answered */
        store_done *done;
        void *arg;
    } open[32]; /* in the order of the calls */
    unsigned count;
    bool trouble;               /* says STORE_UNAVAILABLE at once */
    char key[32];               /* the key of the last submission; "none" if it had none */
    enum durability durability; /* of the job of the last submission, during the call; */
    enum job_status status;     /* that it was submitted with */
} late;

static void note(char call) {
    size_t n = strlen(late.calls);
    if (n + 1 < sizeof late.calls)
        late.calls[n] = call;
}

static void answer_later(char call, store_done *done, void *arg) {
    note(call);
    if (late.trouble) {
        done(arg, STORE_UNAVAILABLE);
        return;
    }
    assert_true(late.count < sizeof late.open / sizeof late.open[0]);
    late.open[late.count].call = call;
    late.open[late.count].done = done;
    late.open[late.count++].arg = arg;
}

/* Answers the first open call of that letter; '\0': the first of all. False: there is none. */
static bool answer_first(char call, enum store_result result) {
    for (unsigned i = 0; i < late.count; i++) {
        if (late.open[i].call == '\0' || (call != '\0' && late.open[i].call != call))
            continue;
        late.open[i].call = '\0';
        late.open[i].done(late.open[i].arg, result);
        return true;
    }
    return false;
}

static inline void answer_store(enum store_result result) {
    assert_true(answer_first('\0', result));
}

/* Answers the first open call of that letter, out of order. */
static inline void answer_store_call(char call, enum store_result result) {
    assert_true(answer_first(call, result));
}

/* ---- the operations ---------------------------------------------------------------------------------------------- */

static void late_submit(struct store *s, struct record *r, const struct store_input *in, store_done *done, void *arg) {
    (void)s;
    struct job *job = jobs_find(jobs, &r->id, NULL);
    late.durability =
        job == NULL ? jobs->ending->ending_prev->durability : job->durability; /* the last that has ended */
    late.status = r->status;
    snprintf(late.key, sizeof late.key, "%s", in->key == NULL ? "none" : in->key->key);
    answer_later('S', done, arg);
}

static void late_plan(struct store *s, struct record *r, const struct slice *plan) {
    (void)s, (void)r, (void)plan;
    note('p');
}

static void late_update(struct store *s, struct record *r) {
    (void)s, (void)r;
    note('u');
}

static void late_lost(struct store *s, struct record *r, const struct store_chunk *c, store_done *done, void *arg) {
    (void)s, (void)r, (void)c;
    if (done != NULL)
        answer_later('l', done, arg);
    else
        note('l');
}

static void late_complete(struct store *s, const struct id *id, uint32_t chunk, uint32_t attempt,
                          const struct slice *p) {
    (void)s, (void)id, (void)chunk, (void)attempt, (void)p;
    note('c');
}

static void late_finish(struct store *s, struct record *r, const struct delivery *d, store_done *done, void *arg) {
    (void)s, (void)r, (void)d;
    answer_later('F', done, arg);
}

static void late_forget(struct store *s, const struct id *id, const char *tenant, store_done *done, void *arg) {
    (void)s, (void)id, (void)tenant;
    answer_later('X', done, arg);
}

static int64_t late_gc(struct store *s, int64_t now_ms) {
    (void)s, (void)now_ms;
    return 0;
}

static void late_close(struct store *s) {
    (void)s;
    while (answer_first('\0', STORE_UNAVAILABLE))
        continue;
}

static const struct store_ops late_ops = {.submit = late_submit,
                                          .plan = late_plan,
                                          .update = late_update,
                                          .lost = late_lost,
                                          .complete = late_complete,
                                          .finish = late_finish,
                                          .forget = late_forget,
                                          .gc = late_gc,
                                          .close = late_close};

static int open_late(void **state) {
    (void)state;
    memset(&metrics, 0, sizeof metrics);
    late = (struct late){.store = {&late_ops}};
    open_jobs(&late.store, true);
    return 0;
}

/* Submits a job, and lets the store record it. */
static inline void submit_stored(struct client *c) {
    submit(c, true);
    make_durable(c);
    answer_store(STORE_OK);
}

#define JOBS_TEST_LATE(name) cmocka_unit_test_setup_teardown(name, open_late, close_world)

#endif
