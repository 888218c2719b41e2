/* tree.h: an ordered list whose links are in its members, so that adding one needs no memory and cannot fail. Front
 * end; one thread.
 *
 * It is a treap (Seidel and Aragon, Algorithmica 16, 1996): a search tree by the order of the members, and a heap by a
 * random priority of each. So it is as deep as a tree whose members came in random order, whatever the order in which
 * they came: about 2 ln n on average. To find a place takes so many steps. To add behind the last member, to remove any
 * member, and to step to a neighbour take a few steps on average, however many members there are. Members that are
 * equal stay in the order in which they were added. */
#ifndef OFFLOAD_TREE_H
#define OFFLOAD_TREE_H

#include <stdint.h>

/* Embedded in a member, whose owner keeps it in place while it is in a tree. */
struct tree_node {
    struct tree_node *parent, *lower, *higher;
    uint32_t priority; /* a parent's is at least as high as its children's */
    uint32_t tag;      /* the owner's; tree_add sets it to 0 */
};

/* Zeros are an empty tree. */
struct tree {
    struct tree_node *root;
    struct tree_node *first, *last; /* NULL: it is empty */
};

/* Below 0: a comes before b; above 0: behind it; 0: they are equal. */
typedef int tree_compare(const struct tree_node *a, const struct tree_node *b);

void tree_add(struct tree *t, struct tree_node *n, tree_compare *compare);
void tree_remove(struct tree *t, struct tree_node *n); /* it must be in the tree */
/* A member that is equal to `n`, which need not be a member itself. NULL: there is none. */
struct tree_node *tree_find(const struct tree *t, const struct tree_node *n, tree_compare *compare);
/* The last member before `n`, which need not be a member itself. NULL: there is none. */
struct tree_node *tree_last_before(const struct tree *t, const struct tree_node *n, tree_compare *compare);
/* The member before a member. NULL: it is the first. */
struct tree_node *tree_before(const struct tree_node *n);

#endif
