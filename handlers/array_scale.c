/* array_scale.c: each number of an array times a factor. It runs in workers.
 *
 * If the array is the job's alone, it is scaled where it is, and no second one is made. Then a worker can die in the middle
 * of it, and nobody could tell which numbers are scaled already. So each chunk has a journal, in an output of the plan,
 * which outlives the worker: a mark, and room for one block.
 *
 *     mark       the array                        the journal
 *     2 b        blocks 0..b-1 are done           empty
 *                                                 <- block b, scaled      (a loss here: it is done again from the array)
 *     2 b + 1    block b is being overwritten     has block b
 *                <- the journal                                           (a loss here: it is copied again)
 *     2 b + 2    blocks 0..b are done             empty
 *
 * The kernel keeps the pages when a worker is killed, and what a process has stored is seen by the next one in the order
 * of its stores: it is enough that the compiler and the CPU keep the order (release). A block stays in the CPU's cache
 * between the two copies, so the journal costs little.
 *
 * If others have the array too (it is the result of another job, or on disk), a second one is made in an output. A chunk
 * writes its own piece of it, the same bytes in each attempt. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/array_task.h"

#define BLOCK_BYTES      (64 * 1024)
#define JOURNAL_SHARE    (32 * BLOCK_BYTES) /* bytes of the array for each journal, at least */
#define BLOCKS_PER_CHECK 32                 /* between two calls of call_cancelled: 2 MiB */

struct journal {
    _Atomic uint64_t mark;
    char unused[56];
    char block[BLOCK_BYTES];
};

static uint64_t numbers_per_block(const struct task *t) {
    return BLOCK_BYTES / npy_size((enum npy_dtype)t->in.dtype);
}

int array_scale_plan(struct call *c, struct task *t, bool is_npy) {
    size_t item = npy_size(t->array.dtype), size = (size_t)t->array.count * item;
    struct division d = array_divide(c, t, t->array.count, 1, numbers_per_block(t), 1 + size / JOURNAL_SHARE);
    t->made = t->array;
    bool in_place = is_npy && call_map_own(c, t->in.attachment, t->in.data, size) != NULL;
    if (in_place) {
        t->result = t->in.attachment;
        if (plan_output(c, d.chunks * sizeof(struct journal), &t->journal) != 0)
            return -1;
    } else {
        char header[NPY_MAX_WRITTEN];
        npy_write(&t->made, header); /* run writes it again, to the result */
        if (plan_output(c, t->made.data + size, &t->result) != 0)
            return -1;
    }
    t->result_size = t->made.data + size;
    return array_plan_chunks(c, t, &d);
}

/* Adds a block of scaled numbers to the sum. */
static void add_up(const struct task *t, const char *from, uint64_t count, struct tally *sum) {
    size_t size = npy_size((enum npy_dtype)t->in.dtype);
    union block block;
    for (uint64_t i = 0; i < count; i += BLOCK_NUMBERS) {
        size_t n = count - i < BLOCK_NUMBERS ? (size_t)(count - i) : BLOCK_NUMBERS;
        block_load((enum npy_dtype)t->in.dtype, t->in.swapped != 0, from + i * size, n, &block);
        tally_add(sum, &block, n);
    }
}

/* One block: scales it from `from` to `to`, which are the same place if there is a journal. */
static void scale_block(const struct task *t, const char *from, char *to, uint64_t block, uint64_t count,
                        struct journal *journal, struct tally *sum) {
    size_t size = (size_t)count * npy_size((enum npy_dtype)t->in.dtype);
    uint64_t mark = journal == NULL ? 2 * block : atomic_load_explicit(&journal->mark, memory_order_acquire);
    if (mark >= 2 * block + 2) { /* by an attempt that was lost */
        add_up(t, to, count, sum);
        return;
    }
    char *scaled = journal == NULL ? to : journal->block;
    if (mark == 2 * block)
        block_scale((enum npy_dtype)t->in.dtype, t->in.swapped != 0, from, (size_t)count, t->factor, scaled);
    if (journal != NULL) {
        atomic_store_explicit(&journal->mark, 2 * block + 1, memory_order_release);
        memcpy(to, scaled, size);
        atomic_store_explicit(&journal->mark, 2 * block + 2, memory_order_release);
    }
    add_up(t, scaled, count, sum);
}

static int scale_piece(struct call *c, const struct task *t, const struct piece *piece, struct tally *sum) {
    size_t item = npy_size((enum npy_dtype)t->in.dtype), size = (size_t)piece->count * item;
    bool in_place = t->journal != ARRAY_NONE;
    struct journal *journal = NULL;
    if (!in_place && piece->i == 0 && array_write_header(c, t) != 0)
        return -1;
    if (size == 0)
        return 0;
    char *to = call_map_own(c, t->result, t->made.data + piece->first * item, size);
    const char *from = in_place ? to : call_map(c, t->in.attachment, t->in.data + piece->first * item, size);
    if (in_place)
        journal = call_map_own(c, t->journal, piece->i * sizeof *journal, sizeof *journal);
    if (to == NULL || from == NULL || (in_place && journal == NULL))
        return call_fail(c, CALL_FAILED, NULL, "the array cannot be written");
    uint64_t step = numbers_per_block(t);
    for (uint64_t block = 0, i = 0; i < piece->count; block++, i += step) {
        if (block % BLOCKS_PER_CHECK == 0) {
            uint64_t bytes = (piece->count - i) * item, most = BLOCKS_PER_CHECK * BLOCK_BYTES;
            if (call_cancelled(c))
                return -1;
            call_progress(c, i, piece->count);
            array_populate(to + i * item, (size_t)(bytes < most ? bytes : most), !in_place);
        }
        uint64_t count = piece->count - i < step ? piece->count - i : step;
        scale_block(t, from + i * item, to + i * item, block, count, journal, sum);
    }
    return 0;
}

int array_scale(struct call *c, const struct task *t, const struct piece *piece) {
    struct tally sum;
    tally_init(&sum, TALLY_SUM, block_family((enum npy_dtype)t->in.dtype));
    int rc = scale_piece(c, t, piece, &sum);
    if (rc == 0)
        rc = array_write_tally(c, &sum);
    tally_deinit(&sum);
    return rc;
}

int array_scale_merge(struct call *c, const struct task *t, const struct bytes *parts, size_t count) {
    struct tally sum;
    int rc = 0;
    tally_init(&sum, TALLY_SUM, block_family((enum npy_dtype)t->in.dtype));
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (!tally_merge(&sum, parts[i].data, parts[i].size))
            rc = call_fail(c, CALL_FAILED, NULL, "part %zu is damaged", i);
    if (rc == 0) {
        json_begin_object(c);
        json_name(c, "sum");
        array_write_value(c, OP_SUM, t->array.dtype, &sum);
        array_write_shape(c, t);
        json_end_object(c);
    }
    tally_deinit(&sum);
    return rc;
}
