/* data.c: see data.h. Process: the client. */
#include "cli/data.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/say.h"

#define COPY_BYTES (64u << 10)

/* The media type of a file by the end of its name. NULL: it is not known, and the service looks at the data. */
static const char *media_type_of(const char *path) {
    static const char *const types[][2] = {
        {".avif", "image/avif"},       {".gif", "image/gif"},         {".jpeg", "image/jpeg"}, {".jpg", "image/jpeg"},
        {".json", "application/json"}, {".npy", "application/x-npy"}, {".png", "image/png"},   {".tif", "image/tiff"},
        {".tiff", "image/tiff"},       {".webp", "image/webp"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcasecmp(dot, types[i][0]) == 0)
            return types[i][1];
    return NULL;
}

/* Copies all of it to a temporary file, which is gone when it is closed. NULL with errno. */
static FILE *copy(FILE *from, int64_t *size) {
    char bytes[COPY_BYTES];
    FILE *to = tmpfile();
    size_t n = 1;
    for (*size = 0; to != NULL && n > 0; *size += (int64_t)n) {
        n = fread(bytes, 1, sizeof bytes, from);
        if ((n > 0 && fwrite(bytes, 1, n, to) != n) || ferror(from)) {
            int error = errno;
            fclose(to);
            errno = error;
            return NULL;
        }
    }
    return to;
}

static int open_part(struct client_part *part, const char *path) {
    struct stat st;
    bool standard = strcmp(path, "-") == 0;
    FILE *from = standard ? stdin : fopen(path, "rbe");
    *part = (struct client_part){.media_type = media_type_of(path)};
    if (from != NULL && fstat(fileno(from), &st) == 0 && S_ISREG(st.st_mode) && !standard) {
        part->file = from;
        part->size = st.st_size;
        return 0;
    }
    if (from != NULL)
        part->file = copy(from, &part->size);
    int error = errno;
    if (from != NULL && !standard)
        fclose(from);
    if (part->file != NULL)
        return 0;
    say("cannot read %s: %s", path, strerror(error));
    return -1;
}

int data_open(struct data *d, const struct options *options) {
    bool standard = false;
    d->count = 0;
    for (size_t i = 0; i < options->data_count; i++) {
        bool again = standard && strcmp(options->data[i], "-") == 0;
        standard = standard || strcmp(options->data[i], "-") == 0;
        if (again) {
            say("--data - stands twice, but stdin can be read only once");
            return -1;
        }
        if (open_part(&d->parts[d->count], options->data[i]) != 0)
            return -1;
        d->count++;
    }
    return 0;
}

void data_close(struct data *d) {
    for (size_t i = 0; i < d->count; i++)
        fclose(d->parts[i].file);
    d->count = 0;
}
