"""hash-384 once more, written from docs/hash-384.md alone and for clarity only.

    python3 tests/unit/hash384_reference.py > tests/unit/hash384_vectors.h    # what embeddings_test.c compares with
    python3 tests/unit/hash384_reference.py TEXT ...                          # tokens and vector of each text

It takes its Unicode properties from the unicodedata module: a character that is newer than this Python may differ.
"""
import math
import re
import struct
import sys
import unicodedata

DIMENSIONS = 384
BLOCKS = 6
MAX_BYTES = 131072
MAX_TOKENS = 8192
MAX_MARKS = 30
TOKEN_CHARACTERS = 16
WORD, PAIR, GRAM = 1, 2, 3
WEIGHT = {WORD: 2, PAIR: 1, GRAM: 1}

IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]")
ALONE = re.compile("[\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")


def cut(text):
    return text.encode()[:MAX_BYTES].decode(errors="ignore")


def fold_character(c):
    if IGNORABLE.match(c):
        return ""
    mapped = c.casefold()
    if mapped == c:
        mapped = unicodedata.normalize("NFKD", c)
    return c if mapped == c else "".join(map(fold_character, mapped))


def fold(text):
    kept, marks = [], 0
    for c in "".join(map(fold_character, text)):
        marks = marks + 1 if unicodedata.combining(c) else 0
        if marks <= MAX_MARKS:
            kept.append(c)
    return unicodedata.normalize("NFC", "".join(kept))


def words(text):
    found, open_word = [], False
    for c in text:
        category = unicodedata.category(c)
        if ALONE.match(c) and category[0] in "LMN" or category == "So":
            found.append(c)
            open_word = False
        elif category[0] in "LMN":
            if open_word:
                found[-1] += c
            else:
                found.append(c)
            open_word = True
        else:
            open_word = False
    return found or [text]


def limit(found):
    """The first MAX_TOKENS tokens of the words, and how many tokens there are in all."""
    kept, tokens = [], 0
    for word in found:
        need = max(1, -(-len(word) // TOKEN_CHARACTERS))
        room = MAX_TOKENS - tokens
        if room > 0:
            kept.append(word[:room * TOKEN_CHARACTERS])
        tokens += need
    return kept, tokens


def hash64(kind, text):
    h = 0xCBF29CE484222325
    for unit in [kind, *map(ord, text)]:
        h = (h ^ unit) * 0x100000001B3 % 2**64
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD % 2**64
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 % 2**64
    return h ^ h >> 33


def features(kept):
    counts = {}

    def count(kind, text):
        key = hash64(kind, text)
        counts[key] = (kind, counts.get(key, (kind, 0))[1] + 1)

    for i, word in enumerate(kept):
        count(WORD, word)
        if i > 0:
            count(PAIR, kept[i - 1] + " " + word)
        marked = "<" + word + ">"
        for n in (3, 4, 5):
            for at in range(len(marked) - n + 1):
                count(GRAM, marked[at:at + n])
    return counts


def embed(text, dimensions=DIMENSIONS, normalize=True):
    kept, tokens = limit(words(fold(cut(text))))
    sums = [0] * DIMENSIONS
    for h, (kind, n) in features(kept).items():
        amount = math.floor(math.sqrt(n) * WEIGHT[kind] * 65536)
        for block in range(BLOCKS):
            bits = h >> 7 * block
            sums[64 * block + (bits & 63)] += -amount if bits & 64 else amount
    vector = sums[:dimensions]
    if not normalize:
        return min(tokens, MAX_TOKENS), [x / 65536 for x in vector]
    squares = sum(x * x for x in vector)
    if squares == 0:
        return min(tokens, MAX_TOKENS), [1.0] + [0.0] * (dimensions - 1)
    return min(tokens, MAX_TOKENS), [x / math.sqrt(squares) for x in vector]


# Text, how often it is repeated, dimensions, normalize.
CASES = [
    ("Document 0", 1, 384, True),
    ("Document 0", 1, 384, False),
    ("Document 999", 1, 100, True),
    ("a", 1, 384, True),
    ("a", 1, 1, True),
    ("The quick brown fox jumps over the lazy dog.", 1, 384, True),
    ("the fox, the dog & the THE ", 7, 384, False),
    ("Stra\u00dfe, STRASSE; \u0130stanbul \uff21\uff22\uff23 \ufb01n \u2460 x\u00b2", 1, 384, True),
    ("e\u0301\u0323 \u1e69 q\u0307\u0323 \u037a\u0301", 1, 384, True),
    ("\u0301\u0323", 40, 384, True),
    ("soft\u00adhyphen zero\u200bwidth \u2764\ufe0f", 1, 384, True),
    ("\u79c1\u306f\u6bce\u671d\u30b3\u30fc\u30d2\u30fc\u3092\u98f2\u3080\u3002\u3316 \uff76\uff9e", 1, 384, True),
    ("\ub300\ud55c\ubbfc\uad6d \u1112\u1161\u11ab", 1, 384, True),
    ("\u041c\u043e\u0441\u043a\u0432\u0430 \u039f\u0394\u039f\u03a3", 1, 384, True),
    ("\u0645\u0631\u062d\u0628\u0627 \ufdfa \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", 1, 384, True),
    ("I \U0001f44d\U0001f3fd this \U00020000", 1, 384, True),
    ("!!!", 1, 384, True),
    ("   ", 1, 384, True),
    ("\u00ad", 1, 384, True),
    ("\0", 1, 384, True),
    ("left\0right", 1, 384, True),
    ("a_very_long_word_is_several_tokens" + "y" * 40, 1, 384, True),
    ("one two ", 4096, 384, True),
    ("one two ", 4097, 384, True),
    ("x", 131073, 384, True),
    ("\u00e9", 131072, 384, True),
]


def c_string(text):
    return "".join(f"\\{b:03o}" if b < 32 or b > 126 or b in b'"\\?' else chr(b) for b in text.encode())


def digest(floats):
    h = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(floats)}f", *floats):
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def print_vectors():
    print("/* Made by tests/unit/hash384_reference.py, which is independent of the C code: text, its bytes, how often it is\n"
          " * repeated, dimensions, normalize; then tokens, and the FNV-1a hash of the vector's little-endian bytes. */")
    for text, times, dimensions, normalize in CASES:
        tokens, vector = embed(text * times, dimensions, normalize)
        print(f'{{"{c_string(text)}", {len(text.encode())}, {times}, {dimensions}, {str(normalize).lower()}, '
              f"{tokens}, UINT64_C({digest(vector):#018x})}},")


def print_texts(texts):
    for text in texts:
        tokens, vector = embed(text)
        print(tokens, *(f"{x:.9g}" for x in struct.unpack("<384f", struct.pack("<384f", *vector))))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print_texts(sys.argv[1:])
    else:
        print_vectors()
