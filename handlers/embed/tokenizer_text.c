/* tokenizer_text.c: text -> words, character by character. It runs in workers, and what it reads comes from clients.
 *
 * Hugging Face's normaliser makes four passes over the text: clean, space out Han characters, decompose and strip
 * accents, lower-case. Then two passes split it, at white space and around punctuation. Here a character goes through
 * all of them before the next one comes; only canonical order looks back, and never beyond the word. What is to be done
 * with a character is looked up once in `kinds`, which has only what the rules ask for.
 *
 * tokenizer_unicode.h says which characters are what. From utf8proc come only canonical decompositions and combining
 * classes of characters that are in Unicode 9, which no later version may change. */
#include "handlers/embed/tokenizer_text.h"

#include <string.h>

#include <utf8proc.h>

#include "handlers/embed/tokenizer_unicode.h"

enum kind {
    KIND_REMOVED = 1,
    KIND_WHITE = 2,
    KIND_PUNCTUATION = 4,
    KIND_HAN = 8,
    KIND_MARK = 16,
    KIND_DECOMPOSED = 32,
    KIND_ORDERED = 64, /* canonical order can move it */
    KIND_UPPER = 128
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void mark_runs_as(struct tokenizer_text *t, enum kind kind, const struct unicode_run *runs, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (uint32_t c = runs[i].first; c <= runs[i].last; c++)
            t->kinds[c] |= (uint8_t)kind;
}

static void mark_upper_case(struct tokenizer_text *t) {
    for (size_t i = 0; i < COUNT(lower_runs); i++)
        for (uint32_t c = lower_runs[i].first; c <= lower_runs[i].last; c += lower_runs[i].step)
            t->kinds[c] |= KIND_UPPER;
    t->kinds[0x130] |= KIND_UPPER;
}

/* Most text is ASCII letters and digits. */
static void find_plain_bytes(struct tokenizer_text *t) {
    for (unsigned b = 1; b < 0x80; b++) {
        bool begins_added = t->first_added[b] != t->first_added[b + 1];
        if ((t->kinds[b] & ~KIND_UPPER) == 0 && !begins_added)
            t->plain[b] = (uint8_t)(t->kinds[b] & KIND_UPPER ? b | 0x20 : b);
    }
}

static void index_added(struct tokenizer_text *t, const struct tokenizer_added *added, uint32_t count) {
    uint32_t i = 0;
    t->added = added;
    for (unsigned b = 0; b < 256; b++) {
        t->first_added[b] = i;
        while (i < count && (uint8_t)added[i].bytes[0] == b)
            i++;
    }
    t->first_added[256] = i;
}

void tokenizer_text_init(struct tokenizer_text *t, const struct tokenizer_rules *rules, uint32_t max_characters,
                         const struct tokenizer_added *added, uint32_t added_count) {
    t->max_characters = max_characters;
    mark_runs_as(t, KIND_WHITE, white_runs, COUNT(white_runs));
    mark_runs_as(t, KIND_PUNCTUATION, punctuation_runs, COUNT(punctuation_runs));
    if (rules->clean_text)
        mark_runs_as(t, KIND_REMOVED, removed_runs, COUNT(removed_runs));
    if (rules->handle_chinese_chars)
        mark_runs_as(t, KIND_HAN, han_runs, COUNT(han_runs));
    if (rules->strip_accents) {
        mark_runs_as(t, KIND_MARK, mark_runs, COUNT(mark_runs));
        mark_runs_as(t, KIND_DECOMPOSED, decomposed_runs, COUNT(decomposed_runs));
        mark_runs_as(t, KIND_ORDERED, ordered_runs, COUNT(ordered_runs));
    }
    if (rules->lowercase)
        mark_upper_case(t);
    index_added(t, added, added_count);
    find_plain_bytes(t);
}

/* Of a character of KIND_UPPER other than U+0130. */
static uint32_t lower_case(uint32_t c) {
    size_t low = 0, high = COUNT(lower_runs) - 1;
    while (low < high) { /* the first run that does not end before it */
        size_t middle = (low + high) / 2;
        if (lower_runs[middle].last < c)
            low = middle + 1;
        else
            high = middle;
    }
    return c + (uint32_t)lower_runs[low].delta;
}

static int combining_class(uint32_t c) {
    return utf8proc_get_property((int32_t)c)->combining_class;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

struct splitter {
    const struct tokenizer_text *text;
    const struct tokenizer_sink *sink;
    size_t characters; /* of the word: if they are more than max_characters, they are only counted */
    size_t size;       /* in bytes */
    size_t ordered;    /* the characters of KIND_ORDERED at the end of the word, which can change places, begin here */
    uint8_t word[4 * TOKENIZER_MAX_CHARACTERS];
};

static void end_word(struct splitter *s) {
    if (s->characters > s->text->max_characters)
        s->sink->word(s->sink->arg, NULL, 0);
    else if (s->characters > 0)
        s->sink->word(s->sink->arg, s->word, s->size);
    s->characters = s->size = s->ordered = 0;
}

/* Puts a character into the word, before the bytes from `at` on. */
static void put_at(struct splitter *s, size_t at, uint32_t c) {
    uint8_t bytes[4];
    if (++s->characters > s->text->max_characters)
        return;
    size_t n = (size_t)utf8proc_encode_char((int32_t)c, bytes);
    memmove(s->word + at + n, s->word + at, s->size - at);
    memcpy(s->word + at, bytes, n);
    s->size += n;
}

/* Puts it behind the last of those whose combining class is not greater. */
static void put_in_order(struct splitter *s, uint32_t c) {
    int class = combining_class(c);
    size_t at = s->size;
    while (at > s->ordered && s->characters < s->text->max_characters) {
        size_t before = at - 1;
        int32_t other;
        while ((s->word[before] & 0xc0) == 0x80)
            before--;
        utf8proc_iterate(s->word + before, (utf8proc_ssize_t)(at - before), &other);
        if (combining_class((uint32_t)other) <= class)
            break;
        at = before;
    }
    put_at(s, at, c);
}

/* A character of the normalised text. */
static void take_normalised(struct splitter *s, uint32_t c) {
    uint8_t kind = s->text->kinds[c];
    if (kind & (KIND_WHITE | KIND_PUNCTUATION))
        end_word(s);
    if (kind & KIND_WHITE)
        return;
    put_at(s, s->size, c);
    s->ordered = s->size;
    if (kind & KIND_PUNCTUATION)
        end_word(s);
}

static void take_cased(struct splitter *s, uint32_t c) {
    if (!(s->text->kinds[c] & KIND_UPPER)) {
        take_normalised(s, c);
    } else if (c == 0x130) {
        take_normalised(s, 'i');
        take_normalised(s, 0x307);
    } else {
        take_normalised(s, lower_case(c));
    }
}

/* A mark of class 0 is dropped as the others are, but nothing changes places over it. */
static void take_decomposed(struct splitter *s, uint32_t c) {
    uint8_t kind = s->text->kinds[c];
    if (kind & KIND_ORDERED)
        put_in_order(s, c);
    else if (!(kind & KIND_MARK))
        take_cased(s, c);
    else if (s->ordered < s->size && combining_class(c) == 0)
        s->ordered = s->size;
}

/* A character of the text as it came. */
static void take(struct splitter *s, uint32_t c) {
    uint8_t kind = s->text->kinds[c];
    if (kind & KIND_REMOVED)
        return;
    if (kind & KIND_HAN)
        end_word(s);
    if (kind & KIND_DECOMPOSED) {
        int32_t parts[8];
        int boundclass = 0;
        utf8proc_ssize_t n = utf8proc_decompose_char((int32_t)c, parts, 8, UTF8PROC_DECOMPOSE, &boundclass);
        for (utf8proc_ssize_t i = 0; i < n && i < 8; i++)
            take_decomposed(s, (uint32_t)parts[i]);
    } else {
        take_decomposed(s, c);
    }
    if (kind & KIND_HAN)
        end_word(s);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* Takes bytes as long as they are plain ones, and returns where the first other one is. */
static const uint8_t *take_plain(struct splitter *s, const uint8_t *at, const uint8_t *end) {
    const uint8_t *begin = at;
    size_t room = s->text->max_characters > s->characters ? s->text->max_characters - s->characters : 0;
    const uint8_t *stop = (size_t)(end - at) < room ? end : at + room;
    uint8_t *to = s->word + s->size, folded;
    while (at < stop && (folded = s->text->plain[*at]) != 0) {
        *to++ = folded;
        at++;
    }
    if (at == stop)
        while (at < end && s->text->plain[*at] != 0)
            at++;
    if (at > begin) {
        s->characters += (size_t)(at - begin);
        s->size = s->ordered = (size_t)(to - s->word);
    }
    return at;
}

/* The first token from `low` to `high` whose byte at `depth` is not below `byte`; or `high`. */
static uint32_t first_from(const struct tokenizer_text *t, uint32_t low, uint32_t high, size_t depth, unsigned byte) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint8_t)t->added[middle].bytes[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest added token at the beginning of the bytes, or NULL. The candidates are those that begin as the bytes do:
 * they lie together, and the shortest is the first of them. */
static const struct tokenizer_added *find_added(const struct tokenizer_text *t, const uint8_t *at, size_t size) {
    const struct tokenizer_added *found = NULL;
    uint32_t low = t->first_added[*at], high = t->first_added[*at + 1];
    for (size_t depth = 1; low < high; depth++) {
        if (t->added[low].size == depth)
            found = &t->added[low++];
        if (depth == size)
            break;
        low = first_from(t, low, high, depth, at[depth]);
        high = first_from(t, low, high, depth, at[depth] + 1u);
    }
    return found;
}

int tokenizer_text_split(const struct tokenizer_text *t, const char *text, size_t size,
                         const struct tokenizer_sink *sink) {
    const uint8_t *at = (const uint8_t *)text, *end = at + size;
    struct splitter s;
    s.text = t;
    s.sink = sink;
    s.characters = s.size = s.ordered = 0;
    while ((at = take_plain(&s, at, end)) < end) {
        const struct tokenizer_added *added = find_added(t, at, (size_t)(end - at));
        if (added != NULL) {
            end_word(&s);
            sink->added(sink->arg, added->id);
            at += added->size;
            continue;
        }
        int32_t c;
        utf8proc_ssize_t taken = utf8proc_iterate(at, end - at, &c);
        if (taken <= 0)
            return -1;
        take(&s, (uint32_t)c);
        at += taken;
    }
    end_word(&s);
    return 0;
}
