/* keys.h: the text of the keys file. A line is
 *
 *     NAME CREDENTIAL SCOPES [QUOTA ...]          a line that is empty, or begins with #, is nothing
 *
 *     NAME         1 to 64 bytes without white space, see keys_is_name
 *     CREDENTIAL   sha256:HEX   the SHA-256 of the key, 64 digits
 *                  uid:N        the user at the other end of a Unix socket
 *                  cert         a client's certificate whose common name is NAME
 *     SCOPES       submit, read, admin, with commas between them
 *     QUOTA        rate=N/s     requests     (also /m and /h, as for the others)
 *                  jobs=N       jobs that are queued or run
 *                  cpu=N/h      seconds of CPU time
 *                  bytes=N/h    bytes of bodies; KiB, MiB, GiB
 *                  weight=N     its share of busy workers beside others', 1 to 100
 *
 * A name can have several lines, so that a key can be replaced without a pause; but for their credentials they are the
 * same. Front end. */
#ifndef OFFLOAD_ACCESS_KEYS_H
#define OFFLOAD_ACCESS_KEYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "base/hash.h"
#include "server/access/quota.h"
#include "server/access/scope.h"

enum key_kind { KEY_HASH, KEY_UID, KEY_CERTIFICATE };

/* What a name may do. */
struct key_grant {
    unsigned scopes; /* of enum access_scope */
    uint64_t jobs;   /* 0: no limit */
    unsigned weight;
    struct quota_rate rate, cpu, bytes;
};

struct key_line {
    char name[ACCESS_MAX_NAME + 1];
    enum key_kind kind;
    uint8_t hash[HASH_SIZE];
    uid_t uid;
    struct key_grant grant;
    unsigned number; /* of the line in the file, from 1 */
};

/* All lines of a file. Zeros are an empty one. */
struct keys {
    struct key_line *lines; /* heap; in the order of the file */
    size_t count, room;
};

/* Reads the text. 0; or -1 with "line N: ..." in `error`, and nothing in *keys. The lines are each good by itself, and
 * also beside each other. */
MUST_CHECK int keys_parse(struct keys *keys, const char *text, size_t size, struct buf *error);
/* Whether a key can have that name: 1 to 64 bytes of UTF-8 without control characters, quotes and backslashes, and not
 * KEYS_OTHERS. */
bool keys_is_name(const char *text);
#define KEYS_OTHERS "(others)" /* in the metrics: the sums of those that have no row of their own */
/* What a name may do that has no line: submit and read, without quotas. */
struct key_grant keys_default_grant(void);
void keys_deinit(struct keys *keys);

#endif
