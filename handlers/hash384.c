/* hash384.c: the embedding model "hash-384". It runs in workers, and in the zygote for calibration.
 *
 * docs/hash-384.md is the specification, and the headings below are its steps. Features are hashed straight from the
 * folded code points, without a copy, and counted in one open-addressing table. All is done in integers up to the last
 * division, so the result does not depend on the order of the additions or on fused instructions. The memory is mapped
 * once, for the longest text that the limits allow. The kernel provides only the pages that a text needs.
 */
#include "handlers/hash384.h"

#include <math.h>
#include <sys/mman.h>

#include <utf8proc.h>

enum {
    BLOCKS = 6, /* of 64 dimensions: each feature adds to one dimension in each */
    BLOCK_DIMENSIONS = HASH384_DIMENSIONS / BLOCKS,
    MAX_MARKS = 30,                         /* combining marks kept in a row, as in Unicode's stream-safe text */
    TOKEN_CHARACTERS = 16,                  /* a longer word is several tokens */
    MAX_CHARACTERS = 6 * HASH384_MAX_BYTES, /* U+FDFA has 3 bytes and folds to 18 characters; no other is worse */
    MAX_FEATURES = HASH384_MAX_TOKENS * (2 + 3 * TOKEN_CHARACTERS),
    MAX_SLOTS = 1 << 20 /* the table stays at most half full */
};

_Static_assert(MAX_SLOTS >= 2 * MAX_FEATURES, "the table must never fill up");

enum feature_kind { FEATURE_WORD = 1, FEATURE_PAIR, FEATURE_GRAM };

static const uint32_t feature_weight[] = {[FEATURE_WORD] = 2, [FEATURE_PAIR] = 1, [FEATURE_GRAM] = 1};

struct word {
    uint32_t start, length; /* in characters */
};

struct slot {
    uint64_t hash;
    uint32_t count; /* 0: the slot is free */
    uint32_t weight;
};

struct hash384 {
    size_t character_count, word_count, used_count;
    size_t slot_mask; /* of the part of the table that this text uses; that of a short text fits into the cache */
    int32_t characters[MAX_CHARACTERS];
    struct word words[HASH384_MAX_TOKENS + 1];
    struct slot slots[MAX_SLOTS]; /* all free between two texts */
    uint32_t used[MAX_FEATURES];  /* the slots that are taken, so that clearing costs no more than counting */
};

struct hash384 *hash384_new(void) {
    void *m =
        mmap(NULL, sizeof(struct hash384), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return m == MAP_FAILED ? NULL : m;
}

void hash384_free(struct hash384 *m) {
    if (m)
        munmap(m, sizeof *m);
}

/* ---- fold -------------------------------------------------------------------------------------------------------- */

static int combining_class(int32_t c) {
    return c < 0x300 ? 0 : utf8proc_get_property(c)->combining_class;
}

/* Puts a character behind the others or, if it is a combining mark, where canonical order wants it. *marks counts how
 * many marks there are in a row. Without the limit the time for the insertion sort would grow with the square of
 * that. */
static void push_character(struct hash384 *m, int32_t c, unsigned *marks) {
    int class = combining_class(c);
    *marks = class ? *marks + 1 : 0;
    if (*marks > MAX_MARKS)
        return;
    size_t at = m->character_count++;
    for (; class && at > 0 && combining_class(m->characters[at - 1]) > class; at--)
        m->characters[at] = m->characters[at - 1];
    m->characters[at] = c;
}

/* Folds the first code point of a text. Returns how many bytes it has, or -1 if that is not UTF-8. */
static utf8proc_ssize_t fold_beyond_ascii(struct hash384 *m, const uint8_t *text, size_t size, unsigned *marks) {
    const utf8proc_option_t options =
        UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE;
    int32_t c, folded[32]; /* at most 24 are used: 6 for each byte */
    int boundclass = 0;
    utf8proc_ssize_t taken = utf8proc_iterate(text, (utf8proc_ssize_t)size, &c);
    if (taken <= 0)
        return -1;
    utf8proc_ssize_t n = utf8proc_decompose_char(c, folded, 32, options, &boundclass);
    if (n < 0 || n > 6 * taken)
        return -1;
    for (utf8proc_ssize_t i = 0; i < n; i++)
        push_character(m, folded[i], marks);
    return taken;
}

/* Unicode's NFKC_Casefold. For ASCII that only means small letters. */
static int fold(struct hash384 *m, const uint8_t *text, size_t size) {
    bool ascii = true;
    unsigned marks = 0;
    m->character_count = 0;
    for (size_t at = 0; at < size;) {
        if (text[at] < 0x80) {
            bool capital = text[at] >= 'A' && text[at] <= 'Z';
            push_character(m, text[at++] | (capital ? 0x20 : 0), &marks);
            continue;
        }
        utf8proc_ssize_t taken = fold_beyond_ascii(m, text + at, size - at, &marks);
        if (taken < 0)
            return -1;
        ascii = false;
        at += (size_t)taken;
    }
    if (ascii)
        return 0;
    utf8proc_ssize_t composed = utf8proc_normalize_utf32(m->characters, (utf8proc_ssize_t)m->character_count,
                                                         UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (composed < 0)
        return -1;
    m->character_count = (size_t)composed;
    return 0;
}

/* ---- split ------------------------------------------------------------------------------------------------------- */

enum place { PLACE_OUTSIDE, PLACE_INSIDE, PLACE_ALONE };

/* In these scripts there are no spaces and a character means much, so each of them is a word. */
static bool is_han_or_kana(int32_t c) {
    return (c >= 0x3040 && c <= 0x30ff) || (c >= 0x31f0 && c <= 0x31ff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x20000 && c <= 0x3ffff);
}

static enum place place_of(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return is_han_or_kana(c) ? PLACE_ALONE : PLACE_INSIDE;
    case UTF8PROC_CATEGORY_SO: return PLACE_ALONE;
    default: return PLACE_OUTSIDE;
    }
}

/* Makes the words. Stops with the first one that is surely beyond the limit. */
static void split(struct hash384 *m) {
    bool open = false;
    m->word_count = 0;
    for (size_t i = 0; i < m->character_count && m->word_count <= HASH384_MAX_TOKENS; i++) {
        enum place place = place_of(m->characters[i]);
        if (place == PLACE_INSIDE && open)
            m->words[m->word_count - 1].length++;
        else if (place != PLACE_OUTSIDE)
            m->words[m->word_count++] = (struct word){.start = (uint32_t)i, .length = 1};
        open = place == PLACE_INSIDE;
    }
    if (m->word_count == 0)
        m->words[m->word_count++] = (struct word){.start = 0, .length = (uint32_t)m->character_count};
}

static uint32_t word_tokens(const struct word *w) {
    return w->length == 0 ? 1 : (w->length + TOKEN_CHARACTERS - 1) / TOKEN_CHARACTERS;
}

/* Drops what is behind the last token within the limit, which can be in the middle of a word. */
static void limit(struct hash384 *m, struct hash384_extent *extent) {
    for (size_t i = 0; i < m->word_count; i++) {
        struct word *w = &m->words[i];
        uint32_t room = HASH384_MAX_TOKENS - extent->tokens;
        if (word_tokens(w) > room) {
            w->length = room * TOKEN_CHARACTERS;
            m->word_count = i + (room > 0);
            extent->tokens = HASH384_MAX_TOKENS;
            extent->truncated = true;
            return;
        }
        extent->tokens += word_tokens(w);
    }
}

int hash384_read(struct hash384 *m, const char *text, size_t size, struct hash384_extent *extent) {
    *extent = (struct hash384_extent){.truncated = size > HASH384_MAX_BYTES};
    if (extent->truncated)
        for (size = HASH384_MAX_BYTES; size > 0 && ((uint8_t)text[size] & 0xc0) == 0x80;)
            size--;
    if (fold(m, (const uint8_t *)text, size) < 0)
        return -1;
    split(m);
    limit(m, extent);
    return 0;
}

/* ---- count ------------------------------------------------------------------------------------------------------- */

static uint64_t hash_unit(uint64_t h, int32_t unit) {
    return (h ^ (uint32_t)unit) * UINT64_C(0x100000001b3);
}

static uint64_t hash_begin(enum feature_kind kind) {
    return hash_unit(UINT64_C(0xcbf29ce484222325), (int32_t)kind);
}

static uint64_t hash_word(uint64_t h, const struct hash384 *m, const struct word *w) {
    for (uint32_t i = 0; i < w->length; i++)
        h = hash_unit(h, m->characters[w->start + i]);
    return h;
}

static uint64_t hash_end(uint64_t h) {
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

static void count_feature(struct hash384 *m, uint64_t hash, enum feature_kind kind) {
    size_t at = hash & m->slot_mask;
    while (m->slots[at].count > 0 && m->slots[at].hash != hash)
        at = (at + 1) & m->slot_mask;
    struct slot *slot = &m->slots[at];
    if (slot->count == 0) {
        *slot = (struct slot){.hash = hash, .weight = feature_weight[kind]};
        m->used[m->used_count++] = (uint32_t)at;
    }
    slot->count++;
}

/* Character i of the word between its boundary marks. */
static int32_t marked_at(const struct hash384 *m, const struct word *w, uint32_t i) {
    if (i == 0)
        return '<';
    return i > w->length ? '>' : m->characters[w->start + i - 1];
}

/* Counts the n-grams of 3, 4 and 5 characters that begin at each place. They share one hash, which is finished three
 * times. */
static void count_grams(struct hash384 *m, const struct word *w) {
    uint32_t length = w->length + 2;
    for (uint32_t from = 0; from + 3 <= length; from++) {
        uint64_t h = hash_begin(FEATURE_GRAM);
        for (uint32_t n = 1; n <= 5 && from + n <= length; n++) {
            h = hash_unit(h, marked_at(m, w, from + n - 1));
            if (n >= 3)
                count_feature(m, hash_end(h), FEATURE_GRAM);
        }
    }
}

static void count_features(struct hash384 *m) {
    for (size_t i = 0; i < m->word_count; i++) {
        const struct word *w = &m->words[i];
        count_feature(m, hash_end(hash_word(hash_begin(FEATURE_WORD), m, w)), FEATURE_WORD);
        if (i > 0) {
            uint64_t h = hash_unit(hash_word(hash_begin(FEATURE_PAIR), m, w - 1), ' ');
            count_feature(m, hash_end(hash_word(h, m, w)), FEATURE_PAIR);
        }
        count_grams(m, w);
    }
}

/* Chooses how much of the table this text uses, so that at most half of it is filled even if all features differ. */
static void prepare_slots(struct hash384 *m) {
    size_t features = 0, wanted = 64;
    for (size_t i = 0; i < m->word_count; i++)
        features += 2 + 3 * (size_t)m->words[i].length;
    while (wanted < 2 * features)
        wanted *= 2;
    m->slot_mask = wanted - 1;
    m->used_count = 0;
}

/* ---- add up ------------------------------------------------------------------------------------------------------ */

/* Adds up what was counted, and leaves the table empty. */
static void drain_slots(struct hash384 *m, int64_t *sums) {
    for (size_t i = 0; i < m->used_count; i++) {
        struct slot *slot = &m->slots[m->used[i]];
        int64_t amount = (int64_t)(sqrt(slot->count) * slot->weight * 65536);
        uint64_t bits = slot->hash;
        for (unsigned block = 0; block < BLOCKS; block++, bits >>= 7)
            sums[block * BLOCK_DIMENSIONS + (bits & 63)] += bits & 64 ? -amount : amount;
        slot->count = 0;
    }
}

static double length_of(const int64_t *sums, size_t dimensions) {
    unsigned __int128 squares = 0;
    for (size_t i = 0; i < dimensions; i++)
        squares += (unsigned __int128)((__int128)sums[i] * sums[i]);
    return sqrt((double)squares);
}

void hash384_embed(struct hash384 *m, size_t dimensions, bool normalize, float *vector) {
    int64_t sums[HASH384_DIMENSIONS] = {0};
    prepare_slots(m);
    count_features(m);
    drain_slots(m, sums);
    double divisor = normalize ? length_of(sums, dimensions) : 65536;
    if (divisor == 0) { /* no feature fell into these few dimensions */
        divisor = 1;
        sums[0] = 1;
    }
    for (size_t i = 0; i < dimensions; i++)
        vector[i] = (float)((double)sums[i] / divisor);
}
