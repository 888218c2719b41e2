/* items_regroup.c: cuts the groups of a map anew, when it is known how long its items take (host.h). It is pure, and runs
 * in the front end: a map whose type has never been run is planned with a guess, which can be wrong by any factor. */
#include "handlers/host/items_format.h"

#define MIN_GROUP_NS 2000000 /* less is not worth a message */
#define FAIR_GROUPS  16      /* there are at least so many, to keep all workers busy to the end */

/* The next item of a group. False: the bytes are none. */
static bool next_item(struct bytes items, size_t offset, struct planned_item *head, size_t *size) {
    if (items.size - offset < sizeof *head)
        return false;
    memcpy(head, (const char *)items.data + offset, sizeof *head);
    if (head->size > items.size - offset - sizeof *head || ITEMS_PAD(head->size) > items.size - offset - sizeof *head)
        return false;
    *size = sizeof *head + ITEMS_PAD(head->size);
    return true;
}

/* What the items will take, in ns. -1: the bytes are no items. */
static double count_cost_ns(struct bytes items, double rate) {
    struct planned_item head;
    double cost_ns = 0;
    for (size_t offset = 0, size; offset < items.size; offset += size) {
        if (!next_item(items, offset, &head, &size))
            return -1;
        cost_ns += (double)head.cost_ns * rate;
    }
    return cost_ns;
}

/* What a group should take. */
static double group_cost_ns(double total_ns, size_t room) {
    double cost_ns = total_ns / FAIR_GROUPS, least_ns = 2 * total_ns / (double)room;
    cost_ns = cost_ns < MIN_GROUP_NS ? MIN_GROUP_NS : cost_ns > HANDLER_CHUNK_NS ? HANDLER_CHUNK_NS : cost_ns;
    return cost_ns > least_ns ? cost_ns : least_ns;
}

size_t host_regroup(struct bytes items, double rate, struct host_plan_chunk *groups, size_t room) {
    double total_ns = count_cost_ns(items, rate), target_ns = group_cost_ns(total_ns, room);
    size_t count = 0;
    if (total_ns < 0)
        return 0;
    for (size_t offset = 0; offset < items.size;) {
        struct host_plan_chunk *g = &groups[count];
        double cost_ns = 0;
        *g = (struct host_plan_chunk){.offset = offset};
        while (offset < items.size) {
            struct planned_item head;
            size_t size;
            if (!next_item(items, offset, &head, &size))
                return 0;
            double item_ns = (double)head.cost_ns * rate;
            if (g->size > 0 && count + 1 < room && cost_ns + item_ns / 2 > target_ns)
                break;
            cost_ns += item_ns;
            items_join_attachments(g, &head);
            offset += size;
            g->size = offset - g->offset;
        }
        g->cost_ns = cost_ns < (double)(INT64_MAX / 2) ? (uint64_t)cost_ns : INT64_MAX / 2;
        count++;
    }
    return count;
}
