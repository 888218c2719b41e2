/* settings.h: a JSON file of a model's folder, and values of it that are checked. For model.c alone.
 *
 * A key that is missing, or null, leaves the value as it was: the caller puts the default there. Each function returns 0,
 * or -1 with a reason, which names the file and the key. */
#ifndef OFFLOAD_EMBED_SETTINGS_H
#define OFFLOAD_EMBED_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SETTINGS_WHY = 400,
    SETTINGS_MAX_FILE = 4 << 20, /* bytes */
    SETTINGS_SHOWN = 60          /* characters of a text that a reason shows */
};

struct settings {
    json_t *root;    /* NULL: there is no such file */
    char label[200]; /* "all-MiniLM-L6-v2/config.json", for reasons */
    char *why;       /* SETTINGS_WHY bytes */
};

/* Reads folder/file; reasons call the folder `name`. 0 also if there is no such file. `why` is borrowed until
 * settings_close, which must follow in any case. */
int settings_open(struct settings *s, const char *folder, const char *name, const char *file, char *why);
void settings_close(struct settings *s);

/* Numbers of `low` to `high`. */
int settings_integer(const struct settings *s, const char *key, uint32_t low, uint32_t high, uint32_t *value);
int settings_real(const struct settings *s, const char *key, double low, double high, double *value);
int settings_flag(const struct settings *s, const char *key, bool *value);
/* The text lives as long as `s` is open. */
int settings_text(const struct settings *s, const char *key, const char **value);
/* -1 if the key is missing. */
int settings_need(const struct settings *s, const char *key);

/* Sets the reason to "LABEL: ...". Returns -1. */
__attribute__((format(printf, 2, 3))) int settings_fail(const struct settings *s, const char *format, ...);

/* A text of a hostile file as a reason can show it: printable ASCII, and not too long. */
struct settings_shown {
    char text[SETTINGS_SHOWN + 4];
};
struct settings_shown settings_show(const char *text);

#endif
