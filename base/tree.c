/* tree.c: see tree.h. Front end. */
#include "base/tree.h"

#include <stdbool.h>
#include <stddef.h>

/* xorshift32 (Marsaglia, 2003). The priorities only have to be independent of the order of the members. */
static uint32_t next_priority(void) {
    static uint32_t x = 2463534242;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

/* Puts `to` (NULL: nothing) into the place of n below n's parent. */
static void replace(struct tree *t, const struct tree_node *n, struct tree_node *to) {
    struct tree_node *p = n->parent;
    if (p == NULL)
        t->root = to;
    else if (p->lower == n)
        p->lower = to;
    else
        p->higher = to;
    if (to != NULL)
        to->parent = p;
}

/* n and its parent change places. The order stays. */
static void rotate_up(struct tree *t, struct tree_node *n) {
    struct tree_node *p = n->parent, *between;
    replace(t, p, n);
    if (p->lower == n) {
        between = n->higher;
        n->higher = p;
        p->lower = between;
    } else {
        between = n->lower;
        n->lower = p;
        p->higher = between;
    }
    if (between != NULL)
        between->parent = p;
    p->parent = n;
}

/* The member behind a member. NULL: it is the last. */
static struct tree_node *behind(const struct tree_node *n) {
    struct tree_node *at = n->higher;
    if (at == NULL) {
        for (at = n->parent; at != NULL && at->higher == n; at = at->parent)
            n = at;
        return at;
    }
    while (at->lower != NULL)
        at = at->lower;
    return at;
}

void tree_add(struct tree *t, struct tree_node *n, tree_compare *compare) {
    struct tree_node *p = NULL, **place = &t->root;
    if (t->last != NULL && compare(n, t->last) >= 0) {
        p = t->last;
        place = &p->higher;
    }
    while (*place != NULL) {
        p = *place;
        place = compare(n, p) < 0 ? &p->lower : &p->higher;
    }
    if (p == t->last && (p == NULL || place == &p->higher))
        t->last = n;
    if (p == t->first && (p == NULL || place == &p->lower))
        t->first = n;
    *n = (struct tree_node){.parent = p, .priority = next_priority()};
    *place = n;
    while (n->parent != NULL && n->parent->priority < n->priority)
        rotate_up(t, n);
}

void tree_remove(struct tree *t, struct tree_node *n) {
    if (t->last == n)
        t->last = tree_before(n);
    if (t->first == n)
        t->first = behind(n);
    while (n->lower != NULL && n->higher != NULL)
        rotate_up(t, n->lower->priority > n->higher->priority ? n->lower : n->higher);
    replace(t, n, n->lower != NULL ? n->lower : n->higher);
}

struct tree_node *tree_find(const struct tree *t, const struct tree_node *n, tree_compare *compare) {
    struct tree_node *at = t->root;
    int order = at == NULL ? 0 : compare(n, at);
    while (at != NULL && order != 0) {
        at = order < 0 ? at->lower : at->higher;
        order = at == NULL ? 0 : compare(n, at);
    }
    return at;
}

struct tree_node *tree_last_before(const struct tree *t, const struct tree_node *n, tree_compare *compare) {
    struct tree_node *at = t->root, *best = NULL;
    while (at != NULL) {
        bool is_before = compare(at, n) < 0;
        best = is_before ? at : best;
        at = is_before ? at->higher : at->lower;
    }
    return best;
}

struct tree_node *tree_before(const struct tree_node *n) {
    struct tree_node *at = n->lower;
    if (at == NULL) {
        for (at = n->parent; at != NULL && at->lower == n; at = at->parent)
            n = at;
        return at;
    }
    while (at->higher != NULL)
        at = at->higher;
    return at;
}
