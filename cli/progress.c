/* progress.c: see progress.h. Process: the client. */
#include "cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR_CELLS 30

static bool drawn;

bool progress_visible(void) {
    const char *terminal = getenv("TERM");
    return isatty(STDERR_FILENO) && terminal != NULL && strcmp(terminal, "dumb") != 0;
}

void progress_draw(const json_t *job, int64_t elapsed_ms) {
    static const char full[] = "##############################";
    _Static_assert(sizeof full == BAR_CELLS + 1, "a cell for each #");
    if (!progress_visible())
        return;
    const char *status = json_string_value(json_object_get(job, "status"));
    bool running = status != NULL && strcmp(status, "running") == 0;
    const json_t *progress = json_object_get(job, "progress");
    double done = json_number_value(json_object_get(progress, "done"));
    double total = json_number_value(json_object_get(progress, "total"));
    double share = total > 0 && done > 0 ? done / total : 0;
    share = share < 1 ? share : 1;
    int cells = (int)(share * BAR_CELLS);
    fprintf(stderr, "\r%s [%.*s%*s] %3d%%  %llds\033[K", running ? "running" : "queued", cells, full, BAR_CELLS - cells,
            "", (int)(share * 100), (long long)(elapsed_ms / 1000));
    fflush(stderr);
    drawn = true;
}

void progress_clear(void) {
    if (drawn)
        fputs("\r\033[K", stderr);
    drawn = false;
}
