/* sweep.c: makes the files of payloads and the rows that name them agree. Front end, when the database is opened.
 *
 * A crash can leave files that no row names. A file that a row names is missing only if the disk has lost it or another
 * program has deleted it.
 */
#include "server/store/sqlite/sweep.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/store/sqlite/lifetime.h"

struct known_file {
    struct id job;
    enum file_role role;
};

/* The files that rows name. */
struct known_files {
    int64_t *numbers; /* ascending */
    struct known_file *files;
    size_t count, number_room, file_room;
};

static void read_known(struct sql *s, struct known_files *k) {
    sqlite3_stmt *q = sql_use(s, SQL_FILES);
    while (sql_step(s, q)) {
        if (GROW_ARRAY(&k->numbers, k->count, &k->number_room) != 0 ||
            GROW_ARRAY(&k->files, k->count, &k->file_room) != 0) {
            sql_fail(s, SQLITE_NOMEM, ENOMEM);
            continue;
        }
        struct known_file *f = &k->files[k->count];
        *f = (struct known_file){.role = FILE_ROLES};
        if (sql_read_id(q, 1, &f->job))
            f->role = (enum file_role)sqlite3_column_int(q, 2);
        k->numbers[k->count++] = sqlite3_column_int64(q, 0);
    }
}

/* An ended job whose result is missing is gone from now on. recover.c finds what is missing of open jobs. */
static void bury_without_result(struct sql *s, const struct known_files *k, const bool *there) {
    for (size_t i = 0; i < k->count && s->code == SQLITE_OK; i++) {
        char text[ID_TEXT_SIZE];
        if (there[i] || k->files[i].role != FILE_RESULT)
            continue;
        id_format(&k->files[i].job, text);
        LOG(LOG_ERROR, "result_missing", LOG_STR("job", text));
        lifetime_bury(s, &k->files[i].job, clock_wall_ms());
    }
}

int sweep_files(struct sql *s) {
    struct known_files k = {0};
    read_known(s, &k);
    bool *there = calloc(k.count + 1, sizeof *there);
    if (there == NULL)
        sql_fail(s, SQLITE_NOMEM, ENOMEM);
    else if (s->code == SQLITE_OK && files_sweep(&s->files, k.numbers, there, k.count) != 0)
        sql_fail(s, SQLITE_IOERR, errno);
    else
        bury_without_result(s, &k, there);
    free(there);
    free(k.numbers);
    free(k.files);
    return s->code;
}
