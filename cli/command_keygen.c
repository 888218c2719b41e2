/* command_keygen.c: see command_keygen.h. Process: the client. It talks to no service: what the service will have to
 * accept is checked here, so that a line which was made here is never the one that it rejects.
 *
 *     offload_…                              the key, for the client
 *     NAME sha256:… SCOPES [QUOTA …]         the line, for the file of offloadd --keys */
#include "cli/command_keygen.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/key.h"
#include "cli/say.h"

#define MAX_NAME   64
#define MAX_JOBS   1000000000
#define MAX_WEIGHT 100
#define MAX_AMOUNT INT64_C(1000000000000000) /* of a quota */

static bool is_name(const char *name) {
    size_t size = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return size > 0 && size <= MAX_NAME && name[size] == '\0';
}

/* Appends the scopes, each once. False: there is another word. */
static bool write_scopes(struct buf *line, const char *list) {
    static const char *const known[] = {"submit", "read", "admin"};
    unsigned given = 0;
    for (const char *at = list;; at++) {
        size_t size = strcspn(at, ","), i = 0;
        while (i < 3 && (strlen(known[i]) != size || memcmp(known[i], at, size) != 0))
            i++;
        if (i == 3)
            return false;
        given |= 1u << i;
        at += size;
        if (*at == '\0')
            break;
    }
    const char *comma = " ";
    for (size_t i = 0; i < 3; i++) {
        if ((given & 1u << i) == 0)
            continue;
        buf_printf(line, "%s%s", comma, known[i]);
        comma = ",";
    }
    return true;
}

/* "50/s", or "1GiB/h" if it is of bytes. */
static bool is_rate(const char *text, bool of_bytes) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    int64_t amount = 0, scale = 1;
    const char *at = text;
    for (; isdigit((unsigned char)*at) && amount <= MAX_AMOUNT; at++)
        amount = amount * 10 + (*at - '0');
    if (at == text || amount == 0)
        return false;
    for (size_t i = 0; of_bytes && i < sizeof units / sizeof units[0]; i++) {
        scale *= 1024;
        if (strncmp(at, units[i], 3) != 0)
            continue;
        if (amount > MAX_AMOUNT / scale)
            return false;
        at += 3;
        break;
    }
    return amount <= MAX_AMOUNT && at[0] == '/' && at[1] != '\0' && strchr("smh", at[1]) != NULL && at[2] == '\0';
}

static bool write_rate(struct buf *line, const struct options *o, enum option_id id, const char *wanted) {
    if (!options_given(o, id))
        return true;
    if (!is_rate(o->text[id], id == OPTION_BYTES)) {
        say("--%s takes %s, not '%s'", options_row(id)->name, wanted, o->text[id]);
        return false;
    }
    buf_printf(line, " %s=%s", options_row(id)->name, o->text[id]);
    return true;
}

static bool write_count(struct buf *line, const struct options *o, enum option_id id, int64_t most) {
    if (!options_given(o, id))
        return true;
    if (o->number[id] < 1 || o->number[id] > most) {
        say("--%s takes a number from 1 to %" PRId64 ", not '%s'", options_row(id)->name, most, o->text[id]);
        return false;
    }
    buf_printf(line, " %s=%" PRId64, options_row(id)->name, o->number[id]);
    return true;
}

/* Appends what follows the credential. False, after a line on stderr: an option is wrong. */
static bool write_grant(struct buf *line, const struct options *o) {
    const char *scopes = options_given(o, OPTION_SCOPES) ? o->text[OPTION_SCOPES] : "submit,read";
    if (!write_scopes(line, scopes)) {
        say("--scopes takes submit, read and admin, with commas between them, not '%s'", scopes);
        return false;
    }
    return write_count(line, o, OPTION_JOBS, MAX_JOBS) &&
           write_rate(line, o, OPTION_RATE, "requests in a time, such as 50/s") &&
           write_rate(line, o, OPTION_CPU, "seconds of CPU time in a time, such as 3600/h") &&
           write_rate(line, o, OPTION_BYTES, "bytes in a time, such as 1GiB/h") &&
           write_count(line, o, OPTION_WEIGHT, MAX_WEIGHT);
}

static int print_key(const char *name, const char *grant) {
    struct key key;
    if (key_make(&key) != 0) {
        say("keygen: no random bytes, or no SHA-256: %s", strerror(errno));
        return EXIT_TROUBLE;
    }
    printf("%s\n%s sha256:%s%s\n", key.text, name, key.hash, grant);
    explicit_bzero(&key, sizeof key);
    if (fflush(stdout) == 0 && isatty(STDERR_FILENO)) {
        say("the first line is the key, for the client; it is shown this once, so keep it (--key-file, "
            "OFFLOAD_API_KEY)");
        say("the second line is for the file of offloadd --keys; it has only the key's hash; SIGHUP has the file read");
    }
    return EXIT_DONE;
}

int command_keygen(struct command_input *in) {
    const char *name = in->words[0];
    struct buf grant = {0};
    int code = EXIT_USAGE;
    if (!is_name(name))
        say("keygen: '%s' cannot be a name: it has 1 to %d letters, digits, dots, underscores and hyphens", name,
            MAX_NAME);
    else if (write_grant(&grant, in->options))
        code = grant.failed ? EXIT_TROUBLE : print_key(name, grant.data);
    if (grant.failed)
        say("out of memory");
    buf_deinit(&grant);
    return code;
}
