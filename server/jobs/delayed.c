/* delayed.c: see delayed.h. Front end. A binary heap: the job that is due first is in front. A job knows its place, so
 * that it can leave from anywhere. */
#include "server/jobs/delayed.h"

#include "base/array.h"

static void place(struct jobs *js, size_t i, struct job *job) {
    js->delayed[i] = job;
    job->delayed_place = (uint32_t)i + 1;
}

static void sift_up(struct jobs *js, size_t i) {
    struct job *job = js->delayed[i];
    for (; i > 0 && js->delayed[(i - 1) / 2]->due_ns > job->due_ns; i = (i - 1) / 2)
        place(js, i, js->delayed[(i - 1) / 2]);
    place(js, i, job);
}

static void sift_down(struct jobs *js, size_t i) {
    struct job *job = js->delayed[i];
    for (size_t child = 2 * i + 1; child < js->delayed_count; child = 2 * i + 1) {
        if (child + 1 < js->delayed_count && js->delayed[child + 1]->due_ns < js->delayed[child]->due_ns)
            child++;
        if (js->delayed[child]->due_ns >= job->due_ns)
            break;
        place(js, i, js->delayed[child]);
        i = child;
    }
    place(js, i, job);
}

bool delayed_add(struct job *job) {
    struct jobs *js = job->js;
    if (js->delayed_count == UINT32_MAX || GROW_ARRAY(&js->delayed, js->delayed_count, &js->delayed_room) != 0)
        return false;
    place(js, js->delayed_count++, job);
    sift_up(js, job->delayed_place - 1);
    if (job->tenant != NULL)
        job->tenant->delayed++;
    return true;
}

void delayed_remove(struct job *job) {
    struct jobs *js = job->js;
    if (job->delayed_place == 0)
        return;
    size_t i = job->delayed_place - 1;
    job->delayed_place = 0;
    if (job->tenant != NULL)
        job->tenant->delayed--;
    struct job *last = js->delayed[--js->delayed_count];
    if (last == job)
        return;
    place(js, i, last);
    sift_up(js, i);
    sift_down(js, last->delayed_place - 1);
}

int64_t delayed_first_due_ns(const struct jobs *js) {
    return js->delayed_count == 0 ? 0 : js->delayed[0]->due_ns;
}
