"""What Hugging Face's `tokenizers` knows of Unicode, found by asking it about every code point.

    python3 tests/unit/tokenizer_unicode.py > handlers/embed/tokenizer_unicode.h    # needs: pip install tokenizers

The package mixes three versions of Unicode: categories of 8.0 (crate unicode_categories), decompositions of 9.0
(unicode-normalization-alignments), and the lower case of the Rust that it was built with. No library has that mixture,
and ids that are to be equal need it, so it is written down.
"""
import tokenizers
from tokenizers import normalizers, pre_tokenizers

LOW, HIGH = "\u0334", "\u0345"  # marks of the combining classes 1 and 240


def bert(**flags):
    return normalizers.BertNormalizer(**{"clean_text": False, "handle_chinese_chars": False, "strip_accents": False,
                                         "lowercase": False, **flags}).normalize_str


CLEAN, HAN, STRIP, LOWER = (bert(**{name: True}) for name in
                            ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"))
NFD = normalizers.NFD().normalize_str
SPLIT = pre_tokenizers.BertPreTokenizer().pre_tokenize_str

POINTS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def pieces(c):
    return [piece for piece, _ in SPLIT(f"a{c}b")]


def moves(c):
    return NFD("x" + HIGH + c) != "x" + HIGH + c or NFD("x" + c + LOW) != "x" + c + LOW


def is_mark(c):
    return NFD(c) == c and STRIP(f"a{c}b") == "ab"


def runs(characters):
    found = []
    for c in map(ord, characters):
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def lower_runs():
    found = []
    for c in POINTS:
        lower = LOWER(f"a{c}b")[1:-1]
        if lower == c:
            continue
        if c == "\u0130":
            assert lower == "i\u0307"
            continue
        at, delta = ord(c), ord(lower) - ord(c)
        last = found[-1] if found else None
        if last and last[3] == delta and (at - last[1] == last[2] or last[0] == last[1] and at - last[1] == 2):
            last[1:3] = at, at - last[1]
        else:
            found.append([at, at, 1, delta])
    return found


def show(kind, name, meaning, rows):
    print(f"\n/* {meaning} */\nstatic const struct {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        text = " {" + ", ".join(f"{n:#x}" if i < 2 else str(n) for i, n in enumerate(row)) + "},"
        if len(line + text) > 118:
            print(line)
            line = "   "
        line += text
    print(line + "\n};")


print(f"""/* What `tokenizers` {tokenizers.__version__} knows of Unicode; made by tests/unit/tokenizer_unicode.py. For tokenizer_text.c. */
#ifndef OFFLOAD_EMBED_TOKENIZER_UNICODE_H
#define OFFLOAD_EMBED_TOKENIZER_UNICODE_H

#include <stdint.h>

/* clang-format off */
struct unicode_run {{
    uint32_t first, last;
}};
struct lower_run {{
    uint32_t first, last, step; /* each step-th of them */
    int32_t delta;              /* from it to its lower case */
}};""")
show("unicode_run", "removed_runs", "clean_text drops them.", runs(c for c in POINTS if CLEAN(f"a{c}b") == "ab"))
show("unicode_run", "white_runs", "Words end at them.", runs(c for c in POINTS if pieces(c) == ["a", "b"]))
show("unicode_run", "punctuation_runs", "They are words of their own.",
     runs(c for c in POINTS if pieces(c) == ["a", c, "b"]))
show("unicode_run", "han_runs", "handle_chinese_chars puts spaces around them.",
     runs(c for c in POINTS if HAN(f"a{c}b") == f"a {c} b"))
show("unicode_run", "mark_runs", "strip_accents drops them.", runs(filter(is_mark, POINTS)))
show("unicode_run", "decomposed_runs", "They have a canonical decomposition.", runs(c for c in POINTS if NFD(c) != c))
show("unicode_run", "ordered_runs", "They have a combining class, and strip_accents does not drop them.",
     runs(c for c in POINTS if NFD(c) == c and not is_mark(c) and moves(c)))
show("lower_run", "lower_runs", "They have a lower case, and so has U+0130: the two characters U+0069 U+0307.",
     lower_runs())
print("/* clang-format on */\n\n#endif")
