/* tokenizer.c: fuzzes the files of a tokenizer, and texts. The first byte says what the input is: 0 a tokenizer.json, 1
 * a vocab.txt, 2 a vocab.txt and its tokenizer_config.json, else a text for a small vocabulary with settings from that
 * byte. Files end with a byte 0xff, and what is behind them is the text that is encoded with them. A file that is
 * refused has a reason, of one line; the ids of one that is taken are in bounds, and do not depend on the room. */
#include "handlers/embed/tokenizer.c" /* make: a tokenizer without a folder */

#include <utf8proc.h>

#include "handlers/embed/tokenizer_json.h"
#include "handlers/embed/tokenizer_lines.h"
#include "tests/fuzz/input.h"

enum { ROOM = 64 };

static bool is_utf8(const uint8_t *bytes, size_t size) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n;
    for (size_t at = 0; at < size; at += (size_t)n) {
        n = utf8proc_iterate(bytes + at, (utf8proc_ssize_t)(size - at), &c);
        if (n <= 0)
            return false;
    }
    return true;
}

static void encode(const struct tokenizer *t, struct input text) {
    uint32_t few[2], *ids = malloc(ROOM * sizeof *ids);
    char *copy = calloc(1, text.size + (text.size == 0)); /* exactly as large */
    MUST(ids != NULL && copy != NULL);
    if (text.size != 0)
        memcpy(copy, text.data, text.size);
    ptrdiff_t count = tokenizer_encode(t, copy, text.size, ids, ROOM);
    MUST((count == -1) == !is_utf8(text.data, text.size));
    MUST(count == -1 || count >= 2);
    for (ptrdiff_t i = 0; i < count && i < ROOM; i++)
        MUST(ids[i] < tokenizer_vocabulary(t));
    MUST(tokenizer_encode(t, copy, text.size, few, 2) == count);
    MUST(count == -1 || (few[0] == ids[0] && few[1] == ids[(count < ROOM ? count : ROOM) - 1]));
    free(ids);
    free(copy);
}

/* What comes before the next 0xff, which is passed over. */
static struct input take_part(struct input *in) {
    const uint8_t *end = in->size == 0 ? NULL : memchr(in->data, 0xff, in->size);
    struct input part = take_bytes(in, end == NULL ? in->size : (size_t)(end - in->data));
    take_u8(in);
    return part;
}

static void read_files(uint8_t kind, struct input in) {
    struct contents c;
    char why[CONTENTS_WHY] = "";
    struct input file = take_part(&in), config = kind == 2 ? take_part(&in) : (struct input){NULL, 0};
    char *bytes = exact_copy(file.data, file.size), *settings = exact_copy(config.data, config.size);
    contents_init(&c, "file", why);
    int result = kind == 0 ? tokenizer_json_read(&c, bytes, file.size) : tokenizer_lines_read(&c, bytes, file.size);
    if (result == 0 && kind == 2)
        result = tokenizer_lines_configure(&c, settings, config.size);
    struct tokenizer *t = result == 0 ? make(&c) : NULL;
    MUST(result == 0 ? why[0] == '\0' : strncmp(why, "file: ", 6) == 0 && memchr(why, '\0', sizeof why) != NULL);
    contents_free(&c);
    free(bytes);
    free(settings);
    if (t != NULL)
        encode(t, in);
    tokenizer_free(t);
}

/* All settings of the normaliser, by the low bits of the byte; they are made once. */
static const struct tokenizer *small(uint8_t settings) {
    static struct tokenizer *made[16];
    static const char lines[] =
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n##b\nab\ne\n##e\n\xc3\xa9\n##\xc3\xa9\n!\n"
        "\xe4\xb8\xad\n##\xe1\xad\x84\n##\xf0\x9d\x85\xa5\n";
    struct tokenizer **t = &made[settings & 15];
    if (*t == NULL) {
        struct contents c;
        char why[CONTENTS_WHY];
        contents_init(&c, "lines", why);
        MUST(tokenizer_lines_read(&c, lines, sizeof lines - 1) == 0);
        c.rules = (struct tokenizer_rules){settings & 1, settings & 2, settings & 4, settings & 8};
        *t = make(&c);
        MUST(*t != NULL);
        contents_free(&c);
    }
    return *t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    uint8_t kind = take_u8(&in);
    if (kind < 3)
        read_files(kind, in);
    else
        encode(small(kind), in);
    return 0;
}
