"""What Hugging Face's `tokenizers` makes of many texts: what tokenizer_test.c compares with.

    python3 tests/unit/tokenizer_reference.py             # writes tests/unit/tokenizer/; needs: pip install tokenizers
    python3 tests/unit/tokenizer_reference.py ids N V     # text number N, and its words and ids in variant V

    tokenizer.json   a small vocabulary, trained on the texts, and every character of them
    texts            of each text: its size (u16), the text, then of each variant: how many ids it has (u16), and the
                     FNV-1a hash of the ids (u32 each)
    words            of each variant, and in it of each 4096 code points: the FNV-1a hash of the words of a text in
                     which each of them stands alone, between letters, and among combining marks (u32)

Numbers are little-endian. The texts come from the samples below and a random generator with a fixed seed.
"""
import json
import pathlib
import random
import struct
import sys
import unicodedata

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

FOLDER = pathlib.Path(__file__).parent / "tokenizer"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VARIANTS = [  # clean_text, handle_chinese_chars, strip_accents, lowercase: in the order of tokenizer_test.c
    (True, True, None, True),
    (True, True, None, False),
    (True, True, False, True),
    (True, True, True, False),
    (False, False, None, True),
]

SAMPLES = """\
The quick brown fox jumps over the lazy dog, doesn't it?
All human beings are born free and equal in dignity and rights.
Alle Menschen sind frei und gleich an Würde und Rechten geboren. Straße, STRASSE, groß: ẞ.
Tous les êtres humains naissent libres et égaux en dignité et en droits. Œuvre, garçon, naïveté, où ?
Todos los seres humanos nacen libres e iguales en dignidad y derechos. ¿Qué? ¡Señor!
Todos os seres humanos nascem livres e iguais. Ação, coração, avó, lingüiça.
Tutti gli esseri umani nascono liberi ed eguali. Perché? Più, città, È così.
Wszyscy ludzie rodzą się wolni i równi. Zażółć gęślą jaźń, Łódź.
Všichni lidé rodí se svobodní. Příliš žluťoučký kůň úpěl ďábelské ódy.
Minden emberi lény szabadon születik. Árvíztűrő tükörfúrógép.
Bütün insanlar hür doğarlar. İstanbul, Iğdır, ışık, IŞIK.
Tất cả mọi người sinh ra đều được tự do và bình đẳng. Đường phố Hà Nội.
Все люди рождаются свободными и равными в своём достоинстве. Йод, ёлка, Їжак, Ґанок.
Όλοι οι άνθρωποι γεννιούνται ελεύθεροι. ΟΔΥΣΣΕΥΣ Σίσυφος ς σ Σ ΑΣ. Ἀθηνᾶ ᾳ ᾼ;
Բոլոր մարդիկ ծնվում են ազատ։ ԵՎ և եւ
ყველა ადამიანი იბადება თავისუფალი. ᲐᲑᲒ Ⴀ
כל בני האדם נולדו בני חורין. שָׁלוֹם עֲלֵיכֶם
يولد جميع الناس أحرارا متساوين. مَرْحَبًا ﷺ ١٢٣
تمام انسان‌ها آزاد به دنیا می‌آیند
सभी मनुष्य जन्म से स्वतंत्र हैं। क़लम ज़मीन क्षि
সমস্ত মানুষ স্বাধীনভাবে জন্মগ্রহণ করে। ড়াকা
எல்லா மனிதர்களும் சுதந்திரமாகவே பிறக்கின்றனர். கொ
మనుషులందరూ స్వతంత్రులు. കേരളം ಕನ್ನಡ සිංහල
มนุษย์ทั้งหลายเกิดมามีอิสระ น้ำ กำ
ມະນຸດທຸກຄົນ ဗမာစာ ភាសាខ្មែរ བོད་ཡིག
人人生而自由，在尊严和权利上一律平等。豈更車 㐂𠮷𪚥
すべての人間は、生まれながらにして自由である。ガギグ ｶﾞｷﾞ ゔ
모든 인간은 태어날 때부터 자유롭다. 각힣 한글
አማርኛ ᏣᎳᎩ ꮳꮃꭹ ᓄᓇᕗᑦ ⵜⴰⵎⴰⵣⵉⵖⵜ 𐐀𐐨 𞤀𞤢
static int f(const char *s) { return s[0] == '\\0' ? -1 : (x << 2) | ~y; } /* #define A_B 0x7fff */
for i, (k, v) in enumerate(d.items()): print(f"{k!r:>10}: {v ** 2:.3f}"); __init__.py
SELECT * FROM "users" WHERE id <> 42 AND name LIKE '%x\\_%'; -- done
<a href="https://example.org/?q=1&r=%20#top">link</a> user@example.com C:\\Users\\x ~/.bashrc
{"key": [1, 2.5e-10, null, true], "nested": {"a-b": "c_d"}}
Permission is hereby granted, free of charge, to any person obtaining a copy of this software (the "Software"), to deal
THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO
Licensed under the Apache License, Version 2.0; you may not use this file except in compliance with the License.
unbelievable internationalization antidisestablishmentarianism tokenization's re-embedding
1,234,567.89 €5 £3 ¥7 ₹9 $1 50% ½ ² ₂ Ⅷ ⅷ ① № ™ © ® ° ± × ÷ ≠ ≤ ∞ √ ∑ ∂ µ Ω Å K ℃
“quotes” ‘single’ «guillemets» „low“ – — … • · † ‡ § ¶ ‽ ⁇ ‐ ‑ − 〜 ～ ！？（）［］｛｝、。「」
😀😃👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪❤️☃️✈︎⌚🫠🪿🩷 1️⃣ :-) ;) <3
ﬁ ﬂ ﬀ Ǆ ǅ ǆ ŉ ǰ ΐ ʼn ẖ ﬓ Ａ Ｂ ａ ｂ １ ² 𝐀𝑎𝔄 𝟘
Z̸͖̲̈́a̵̛͚l̶̡͌g̴̰͝o̷ q̣̇ q̣̇ ệ ệ Å Å Å
""".splitlines()

ODD = ["\0", "\x01", "\x0b", "\x0c", "\x1b", "\x1f", "\x7f", "\x80", "\x85", "\x9f", "\xa0", "\xad", "\u034f", "\u061c",
       "\u1680", "\u180e", "\u2000", "\u2003", "\u200a", "\u200b", "\u200c", "\u200d", "\u200e", "\u2028", "\u2029",
       "\u202e", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff", "\ufffc", "\ufffd", "\ufffe", "\uffff", "\ue000",
       "\U000f0000", "\U0010ffff", "\U0010fffe", "\U000e0041", "\ufe0f", "\u20dd", "\t", "\r\n", "\n"]
CLOSE = ["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "[cls]", "[MASK", "[[MASK]]", "[ MASK ]", "##", "##ing", "#",
         "[MASK]s", "un[SEP]able", " [MASK] "]
# Characters of combining classes 1, 7, 8, 9, 202, 216, 220, 224, 226, 230, 240 and 0, of all kinds of marks.
MARKS = ["\u0301", "\u0300", "\u0323", "\u0327", "\u0334", "\u0345", "\u093c", "\u094d", "\u3099", "\u302e", "\u302f",
         "\u1b44", "\u1baa", "\ua953", "\ua9c0", "\U0001d165", "\U0001d16d", "\U0001d170", "\u08d4", "\u1dfb",
         "\U00011442", "\U00011446", "\U0001e000", "\U0001e94a", "\u0903", "\u0488", "\u035c", "\u0f71", "\u0f72",
         "\u0e38", "\u05bf", "\u064b", "\u0651", "\u0344", "\u0340", "\u0f73", "\U0001d15e", "\u1abe", "\u034f", "\u0941"]


def pool(r):
    """Characters of everywhere: some of each 256."""
    found = []
    for start in [*range(0, 0x3000, 0x100), *range(0xA000, 0xAC00, 0x100), *range(0xF900, 0x12000, 0x100)]:
        found += [chr(r.randrange(start, start + 0x100)) for _ in range(9)]
    for start in [0x3000, 0x4E00, 0x9F00, 0xAC00, 0xD700, 0x13400, 0x16A00, 0x16E00, 0x18700, 0x1D100, 0x1D400, 0x1E000,
                  0x1E900, 0x1F300, 0x1F600, 0x1FA00, 0x20000, 0x2A600, 0x2B800, 0x2CE00, 0x2F800, 0x30000, 0xE0100]:
        found += [chr(r.randrange(start, start + 0x100)) for _ in range(6)]
    return [c for c in found if not 0xD800 <= ord(c) < 0xE000]


def random_text(r, characters):
    words = [w for sample in SAMPLES for w in sample.split(" ")]
    kind = r.randrange(9)
    if kind == 0:
        return "".join(r.choice(characters) + r.choice(["", "", " "]) for _ in range(r.randrange(1, 30)))
    if kind == 1:
        text = " ".join(r.choices(words, k=r.randrange(1, 14)))
        return unicodedata.normalize(r.choice(["NFC", "NFD", "NFKC", "NFKD"]), text)
    if kind == 2:
        text = list(r.choice(SAMPLES)[:60])
        for _ in range(r.randrange(1, 6)):
            text.insert(r.randrange(len(text) + 1), r.choice(ODD))
        return "".join(text)
    if kind == 3:
        return "".join(r.choice(["", "", " "]) + r.choice([r.choice(CLOSE), r.choice(words)])
                       for _ in range(r.randrange(1, 9)))
    if kind == 4:
        letters = r.choice(["a", "ab", "é", "e\u0301", "ﬁ", "Σ", "ñz", "x1", "\u0301x", "\u302e\u1b44"])
        return (letters * 120)[:r.choice([99, 100, 101, 102, 119])] + r.choice(["", "!", " b", "\u0301", "[SEP]"])
    if kind == 5:
        return "".join(r.choice("ae中\u1100.\u0627 ") + "".join(r.choices(MARKS, k=r.randrange(1, 7)))
                       for _ in range(r.randrange(1, 8)))
    if kind == 6:
        text = r.choice(SAMPLES)
        return r.choice([str.upper, str.lower, str.title, str.swapcase])(text[r.randrange(len(text) // 2):])
    if kind == 7:
        return "".join(chr(r.randrange(0x20, 0x7F)) for _ in range(r.randrange(1, 60)))
    return "".join(r.choice([r.choice(ODD), r.choice(MARKS), r.choice(CLOSE), r.choice(characters), r.choice(words), " "])
                   for _ in range(r.randrange(1, 16)))


def make_texts():
    r = random.Random(14)
    characters = pool(r)
    texts = ["", " ", *SAMPLES, *ODD, *CLOSE, *MARKS, *characters]
    while len(texts) < 5000:
        texts.append(random_text(r, characters))
    return texts


def normalizer(variant):
    return normalizers.BertNormalizer(*variant)


def train(texts):
    """A vocabulary in which every character of every variant is there, so that hardly a difference becomes [UNK]."""
    alphabet, found = {}, dict.fromkeys(SPECIALS)
    for variant in VARIANTS:
        alphabet.update(dict.fromkeys(c for text in texts for c in normalizer(variant).normalize_str(text)))
    for variant in VARIANTS[:2]:
        trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        trained.normalizer, trained.pre_tokenizer = normalizer(variant), pre_tokenizers.BertPreTokenizer()
        trained.train_from_iterator(SAMPLES * 2, trainers.WordPieceTrainer(vocab_size=1400, show_progress=False))
        found.update(dict.fromkeys(sorted(trained.get_vocab())))
    for c in alphabet:
        if unicodedata.category(c) not in ("Cc", "Zs", "Zl", "Zp"):  # a line of vocab.txt cannot end with them
            found.update({c: None, "##" + c: None})
    for c in "zñ[":  # so that some words are unknown
        found.pop(c, None)
        found.pop("##" + c, None)
    return {token: id for id, token in enumerate(found)}


def tokenizer(vocabulary, variant):
    t = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    t.normalizer, t.pre_tokenizer = normalizer(variant), pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")])
    t.add_special_tokens(SPECIALS)
    return t


def fnv(data):
    h = 0x811C9DC5
    for byte in data:
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return h


def block_text(start):
    return "".join(f"a{c}b {c} e{c}\u0301\u1b44{c} \u1b44{c}\U0001d165{c}\u1b44{c}.\n"
                   for c in map(chr, range(start, start + 4096)) if not "\ud800" <= c < "\ue000")


def words_of(variant, text):
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normalizer(variant).normalize_str(text))
    return [word for word, _ in split]


def write():
    texts = make_texts()
    vocabulary = train(texts)
    variants = [tokenizer(vocabulary, variant) for variant in VARIANTS]
    document = json.dumps(json.loads(variants[0].to_str()), ensure_ascii=False, separators=(",", ":"))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "tokenizer.json").write_text(document + "\n", newline="\n")
    with open(FOLDER / "texts", "wb") as file:
        for text in texts:
            file.write(struct.pack("<H", len(text.encode())) + text.encode())
            for t in variants:
                ids = t.encode(text).ids
                file.write(struct.pack("<HI", len(ids), fnv(struct.pack(f"<{len(ids)}I", *ids))))
    with open(FOLDER / "words", "wb") as file:
        for variant in VARIANTS:
            for start in range(0, 0x110000, 4096):
                words = words_of(variant, block_text(start))
                file.write(struct.pack("<I", fnv("\n".join([*words, ""]).encode())))


def show(number, variant):
    text = make_texts()[number]
    t = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    t.normalizer = normalizer(VARIANTS[variant])
    print(repr(text), words_of(VARIANTS[variant], text), t.encode(text).ids, sep="\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["ids"]:
        show(int(sys.argv[2]), int(sys.argv[3]))
    else:
        write()
