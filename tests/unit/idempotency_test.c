/* idempotency_test.c: who gets to make the job of a key, server/api/idempotency.c: claims in every order, over a store that
 * answers at once or later, has the key, does not, or cannot say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/api/idempotency.h"

/* ---- a store that knows one key ---------------------------------------------------------------------------------- */

static struct {
    struct store store;
    bool later;
    enum store_result result;
    struct id job;
    uint8_t hash[STORE_HASH_SIZE];
    unsigned asked;
    store_key_found *found; /* to be answered */
    void *arg;
} fake;

static void answer(void) {
    store_key_found *found = fake.found;
    assert_non_null(found);
    fake.found = NULL;
    found(fake.arg, fake.result, &fake.job, fake.hash);
}

static void find_key(struct store *s, const char *tenant, const char *key, store_key_found *found, void *arg) {
    (void)s;
    assert_string_equal(tenant, "");
    assert_string_equal(key, "k");
    fake.asked++;
    fake.found = found;
    fake.arg = arg;
    if (!fake.later)
        answer();
}

static const struct store_ops ops = {.find_key = find_key};
static struct idempotency *keys;

static int open_keys(void **state) {
    (void)state;
    memset(&fake, 0, sizeof fake);
    fake.store.ops = &ops;
    fake.result = STORE_NOT_FOUND;
    keys = idempotency_new(&fake.store);
    return keys == NULL;
}

static int open_later(void **state) {
    int rc = open_keys(state);
    fake.later = true;
    return rc;
}

static int close_keys(void **state) {
    (void)state;
    idempotency_free(keys);
    return 0;
}

/* ---- claimants --------------------------------------------------------------------------------------------------- */

struct claimant {
    struct key_claim claim; /* the first member */
    unsigned decisions;
    enum key_verdict verdict;
    struct id job;
    bool withdraws;         /* as soon as it is offered the job */
    const struct id *makes; /* as soon as it is offered the job */
};

static const struct id job = {{1, 2, 3}};

static void on_decided(struct key_claim *c, enum key_verdict verdict, const struct id *id) {
    struct claimant *m = (struct claimant *)c;
    m->decisions++;
    m->verdict = verdict;
    if (verdict == KEY_SAME)
        m->job = *id;
    if (verdict == KEY_YOURS && m->withdraws)
        idempotency_withdraw(c);
    else if (verdict == KEY_YOURS && m->makes != NULL)
        idempotency_own(c, m->makes);
}

static void claim_as(struct claimant *m, uint8_t request) {
    uint8_t hash[STORE_HASH_SIZE] = {request};
    m->claim.decided = on_decided;
    assert_int_equal(idempotency_claim(keys, &m->claim, "", "k", 1000, hash), 0);
}

static void assert_decided(const struct claimant *m, enum key_verdict verdict) {
    assert_int_equal(m->decisions, 1);
    assert_int_equal(m->verdict, verdict);
    if (verdict == KEY_SAME)
        assert_memory_equal(&m->job, &job, sizeof job);
}

/* ---- one at a time ----------------------------------------------------------------------------------------------- */

static void a_free_key_is_given_to_the_first_and_its_job_to_the_others(void **state) {
    (void)state;
    struct claimant first = {0}, same = {0}, other = {0}, later = {0};
    claim_as(&first, 1);
    if (fake.later)
        answer();
    assert_decided(&first, KEY_YOURS);
    assert_false(idempotency_owns(&first.claim));
    claim_as(&same, 1);
    claim_as(&other, 2);
    assert_int_equal(same.decisions + other.decisions, 0);
    idempotency_own(&first.claim, &job);
    assert_true(idempotency_owns(&first.claim));
    assert_string_equal(first.claim.key.key, "k");
    assert_decided(&same, KEY_SAME);
    assert_decided(&other, KEY_OTHER);
    claim_as(&later, 1);
    assert_decided(&later, KEY_SAME);
    assert_int_equal(fake.asked, 1);
    idempotency_settle(&first.claim);
    assert_false(idempotency_owns(&first.claim));
    idempotency_settle(&first.claim); /* no effect */
    idempotency_withdraw(&later.claim);
}

static void after_it_is_settled_the_store_is_asked_again(void **state) {
    (void)state;
    struct claimant first = {.makes = &job}, second = {0};
    claim_as(&first, 1);
    idempotency_settle(&first.claim);
    fake.result = STORE_OK;
    fake.job = job;
    fake.hash[0] = 1;
    claim_as(&second, 1);
    assert_decided(&second, KEY_SAME);
    assert_int_equal(fake.asked, 2);
}

static void what_the_store_knows_is_told_to_all_who_ask_meanwhile(void **state) {
    (void)state;
    struct claimant same = {0}, other = {0};
    fake.result = STORE_OK;
    fake.job = job;
    fake.hash[0] = 7;
    claim_as(&same, 7);
    claim_as(&other, 8);
    assert_int_equal(same.decisions + other.decisions, 0);
    answer();
    assert_decided(&same, KEY_SAME);
    assert_decided(&other, KEY_OTHER);
    assert_int_equal(fake.asked, 1);
}

static void a_store_that_cannot_say_leaves_nobody_waiting_and_is_asked_anew(void **state) {
    (void)state;
    struct claimant a = {0}, b = {0}, c = {0};
    fake.result = STORE_UNAVAILABLE;
    claim_as(&a, 1);
    claim_as(&b, 1);
    answer();
    assert_decided(&a, KEY_UNAVAILABLE);
    assert_decided(&b, KEY_UNAVAILABLE);
    fake.result = STORE_NOT_FOUND;
    claim_as(&c, 1);
    answer();
    assert_decided(&c, KEY_YOURS);
    idempotency_withdraw(&c.claim);
}

/* ---- withdrawals ------------------------------------------------------------------------------------------------- */

static void who_withdraws_while_the_store_is_asked_hears_nothing(void **state) {
    (void)state;
    struct claimant a = {0}, b = {0}, c = {0};
    claim_as(&a, 1);
    claim_as(&b, 1);
    claim_as(&c, 2);
    idempotency_withdraw(&a.claim);
    idempotency_withdraw(&c.claim);
    answer();
    assert_int_equal(a.decisions + c.decisions, 0);
    assert_decided(&b, KEY_YOURS);
    idempotency_withdraw(&b.claim);
}

static void all_claims_may_be_withdrawn_when_the_store_answers(void **state) {
    (void)state;
    struct claimant a = {0}, b = {0};
    claim_as(&a, 1);
    idempotency_withdraw(&a.claim);
    claim_as(&b, 1); /* joins what is being asked */
    idempotency_withdraw(&b.claim);
    answer();
    assert_int_equal(a.decisions + b.decisions, 0);
    assert_int_equal(fake.asked, 1);
}

static void an_owner_that_withdraws_makes_way_for_the_next_with_its_own_request(void **state) {
    (void)state;
    struct claimant a = {0}, b = {0}, c = {0}, d = {0};
    claim_as(&a, 1);
    claim_as(&b, 2);
    claim_as(&c, 2);
    claim_as(&d, 1);
    answer();
    assert_decided(&a, KEY_YOURS);
    idempotency_withdraw(&a.claim);
    assert_decided(&b, KEY_YOURS);
    idempotency_own(&b.claim, &job);
    assert_decided(&c, KEY_SAME);
    assert_decided(&d, KEY_OTHER);
    idempotency_settle(&b.claim);
}

static void who_is_not_the_owner_withdraws_unnoticed(void **state) {
    (void)state;
    struct claimant a = {0}, b = {0}, c = {0};
    claim_as(&a, 1);
    answer();
    claim_as(&b, 1);
    claim_as(&c, 1);
    idempotency_withdraw(&b.claim);
    idempotency_own(&a.claim, &job);
    assert_int_equal(b.decisions, 0);
    assert_decided(&c, KEY_SAME);
    idempotency_settle(&a.claim);
}

static void an_owner_that_withdraws_leaves_the_key_free(void **state) {
    (void)state;
    struct claimant a = {.makes = &job}, b = {0};
    claim_as(&a, 1);
    idempotency_withdraw(&a.claim);
    claim_as(&b, 2);
    assert_decided(&b, KEY_YOURS);
    assert_int_equal(fake.asked, 2);
    idempotency_withdraw(&b.claim);
}

/* Every one of them withdraws from within its turn: not deeper in the stack each time. */
static void any_number_may_withdraw_one_after_the_other(void **state) {
    (void)state;
    enum { MANY = 1000000 };
    struct claimant *all = calloc(MANY, sizeof *all), last = {.makes = &job};
    assert_non_null(all);
    for (int i = 0; i < MANY; i++) {
        all[i].withdraws = true;
        claim_as(&all[i], 1);
    }
    claim_as(&last, 1);
    answer();
    for (int i = 0; i < MANY; i++)
        assert_decided(&all[i], KEY_YOURS);
    assert_decided(&last, KEY_YOURS);
    assert_true(idempotency_owns(&last.claim));
    idempotency_settle(&last.claim);
    free(all);
}

/* ---- the header -------------------------------------------------------------------------------------------------- */

static void the_key_is_what_is_between_the_quotes_or_all_of_it(void **state) {
    (void)state;
    static const char *const good[][2] = {{"k", "k"},       {"\"k\"", "k"},
                                          {"a b", "a b"},   {"\"a \\\"b\\\\\"", "a \"b\\"},
                                          {"x\"y", "x\"y"}, {"8e03978e-40d5", "8e03978e-40d5"}};
    static const char *const bad[] = {"", "\"", "\"\"", "\"a", "\"a\"b\"", "\"a\\\"", "a\tb", "\x7F", "\xC3\xA9"};
    char key[IDEMPOTENCY_MAX_KEY + 1], longest[IDEMPOTENCY_MAX_KEY + 2];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(idempotency_parse(good[i][0], key));
        assert_string_equal(key, good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(idempotency_parse(bad[i], key));
    memset(longest, 'x', sizeof longest);
    longest[IDEMPOTENCY_MAX_KEY] = '\0';
    assert_true(idempotency_parse(longest, key));
    assert_string_equal(key, longest);
    longest[IDEMPOTENCY_MAX_KEY] = 'x';
    longest[IDEMPOTENCY_MAX_KEY + 1] = '\0';
    assert_false(idempotency_parse(longest, key));
}

#define AT_ONCE(name) cmocka_unit_test_setup_teardown(name, open_keys, close_keys)
#define LATER(name)   cmocka_unit_test_setup_teardown(name, open_later, close_keys)

int main(void) {
    const struct CMUnitTest tests[] = {
        AT_ONCE(a_free_key_is_given_to_the_first_and_its_job_to_the_others),
        LATER(a_free_key_is_given_to_the_first_and_its_job_to_the_others),
        AT_ONCE(after_it_is_settled_the_store_is_asked_again),
        LATER(what_the_store_knows_is_told_to_all_who_ask_meanwhile),
        LATER(a_store_that_cannot_say_leaves_nobody_waiting_and_is_asked_anew),
        LATER(who_withdraws_while_the_store_is_asked_hears_nothing),
        LATER(all_claims_may_be_withdrawn_when_the_store_answers),
        LATER(an_owner_that_withdraws_makes_way_for_the_next_with_its_own_request),
        LATER(who_is_not_the_owner_withdraws_unnoticed),
        AT_ONCE(an_owner_that_withdraws_leaves_the_key_free),
        LATER(any_number_may_withdraw_one_after_the_other),
        cmocka_unit_test(the_key_is_what_is_between_the_quotes_or_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
