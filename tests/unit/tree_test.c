/* tree_test.c: the ordered tree, compared with a plain sorted array; and how deep it is. See base/tree.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/container.h"
#include "base/tree.h"

struct member {
    struct tree_node node;
    int key;
};

static unsigned steps;

static int by_key(const struct tree_node *a, const struct tree_node *b) {
    steps++;
    return container_of_const(a, struct member, node)->key - container_of_const(b, struct member, node)->key;
}

static struct member *member_of(struct tree_node *n) {
    return n == NULL ? NULL : container_of(n, struct member, node);
}

static struct tree_node *before(const struct tree *t, int key) {
    const struct member probe = {.key = key};
    return tree_last_before(t, &probe.node, by_key);
}

static struct tree_node *find(const struct tree *t, int key) {
    const struct member probe = {.key = key};
    return tree_find(t, &probe.node, by_key);
}

static void an_empty_tree_has_nothing(void **state) {
    (void)state;
    struct tree t = {0};
    assert_null(before(&t, 1));
    assert_null(find(&t, 1));
    struct member one = {.key = 1};
    tree_add(&t, &one.node, by_key);
    assert_ptr_equal(t.last, &one.node);
    assert_null(tree_before(&one.node));
    assert_ptr_equal(t.first, &one.node);
    tree_remove(&t, &one.node);
    assert_null(t.root);
    assert_null(t.first);
    assert_null(t.last);
}

enum { KEYS = 300 };

/* Each member that is in the tree, and each gap, looked at in every way. */
static void compare_with(const struct tree *t, const bool there[KEYS], struct member *all) {
    int last = -1, first = -1;
    for (int key = 0; key < KEYS; key++) {
        struct member *found = member_of(before(t, key));
        assert_ptr_equal(found, last < 0 ? NULL : &all[last]);
        assert_ptr_equal(find(t, key), there[key] ? &all[key].node : NULL);
        if (!there[key])
            continue;
        assert_ptr_equal(member_of(tree_before(&all[key].node)), last < 0 ? NULL : &all[last]);
        first = first < 0 ? key : first;
        last = key;
    }
    assert_ptr_equal(t->first, first < 0 ? NULL : &all[first].node);
    assert_ptr_equal(t->last, last < 0 ? NULL : &all[last].node);
}

static void members_come_and_go_in_any_order(void **state) {
    (void)state;
    static struct member all[KEYS];
    static bool there[KEYS];
    struct tree t = {0};
    srand(1);
    for (int i = 0; i < 4000; i++) {
        int key = i < 100 ? i : rand() % KEYS; /* the first in their order */
        all[key].key = key;
        if (there[key])
            tree_remove(&t, &all[key].node);
        else
            tree_add(&t, &all[key].node, by_key);
        there[key] = !there[key];
        if (i % 20 == 0)
            compare_with(&t, there, all);
    }
}

static void equal_members_stay_in_the_order_in_which_they_were_added(void **state) {
    (void)state;
    enum { EQUAL = 50 };
    struct member all[4 * EQUAL];
    struct tree t = {0};
    srand(2);
    for (int i = 0; i < 4 * EQUAL; i++) {
        all[i].key = i % 4 == 3 ? rand() % 2 * 2 : 1; /* some before and some behind them */
        tree_add(&t, &all[i].node, by_key);
    }
    const struct member *next = NULL;
    for (struct member *m = member_of(t.last); m != NULL; m = member_of(tree_before(&m->node))) {
        assert_true(next == NULL || m->key < next->key || (m->key == next->key && m < next));
        next = m;
    }
    assert_ptr_equal(&next->node, t.first);
}

/* Jobs come in the order of their ids, which would make a list of a plain search tree. */
static void a_place_among_many_that_came_in_order_is_found_in_few_steps(void **state) {
    (void)state;
    enum { MANY = 200000 };
    struct member *all = calloc(MANY, sizeof *all);
    assert_non_null(all);
    for (int falling = 0; falling < 2; falling++) {
        struct tree t = {0};
        unsigned most = 0;
        steps = 0;
        for (int i = 0; i < MANY; i++) {
            all[i].key = falling ? MANY - i : i;
            tree_add(&t, &all[i].node, by_key);
        }
        if (!falling)
            assert_true(steps <= MANY); /* behind the last one: one comparison each */
        for (int i = 0; i < 1000; i++) {
            steps = 0;
            assert_non_null(before(&t, i * (MANY / 1000) + 2));
            most = steps > most ? steps : most;
        }
        assert_in_range(most, 17, 80); /* log2 of MANY is 17.6; a list would take up to 200,000 */
    }
    free(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_tree_has_nothing),
        cmocka_unit_test(members_come_and_go_in_any_order),
        cmocka_unit_test(equal_members_stay_in_the_order_in_which_they_were_added),
        cmocka_unit_test(a_place_among_many_that_came_in_order_is_found_in_few_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
