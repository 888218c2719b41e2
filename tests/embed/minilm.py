#!/usr/bin/python3
"""minilm.py FOLDER: writes minilm.json and minilm.npy beside this file: texts, and their vectors by all-MiniLM-L6-v2, as
sentence-transformers computes them in float32, one text at a time. Only who makes them anew needs sentence-transformers
and torch; FOLDER is the model's.

minilm.json has "texts", and "tokens": how many each has before it is cut off, [CLS] and [SEP] included. minilm.npy has a
row of 384 float32 for each text.
"""
import json
import pathlib
import sys

# Groups that say the same: the nearest neighbours of one are the others.
PARAPHRASES = [
    ["The cat sleeps on the sofa.", "A cat is sleeping on the couch.", "On the sofa lies a sleeping cat."],
    ["How do I reset my password?", "I forgot my password and need a new one.", "Steps to recover a lost password"],
    ["The stock market fell sharply today.", "Shares dropped steeply in today's trading.",
     "Today saw heavy losses on the stock exchange."],
    ["It is raining heavily in London.", "London is having a downpour.", "Heavy rain falls over London."],
    ["She plays the violin in an orchestra.", "She is a violinist in an orchestra."],
    ["The train to Berlin leaves at nine.", "At 9 o'clock the train departs for Berlin."],
    ["Water boils at 100 degrees Celsius.", "The boiling point of water is 100 °C.", "H2O boils at 212 °F."],
    ["The company announced record profits.", "The firm reported its highest earnings ever."],
    ["My laptop battery drains too quickly.", "The battery of my notebook does not last long."],
    ["Preheat the oven to 180 degrees and bake for 40 minutes.", "Bake it for forty minutes in an oven of 180 degrees."],
    ["The patient was treated for pneumonia.", "Doctors treated the patient's lung infection."],
    ["He scored two goals in the final.", "In the last match he netted twice."],
    ["The bridge was closed for repairs.", "Repair works shut the bridge."],
    ["Children learn languages faster than adults.", "Adults acquire languages more slowly than kids."],
    ["Turn off the lights when you leave.", "Switch the lamps off before going."],
]

SENTENCES = [
    "Photosynthesis turns sunlight, water and carbon dioxide into sugar and oxygen.",
    "The mitochondrion is the powerhouse of the cell.",
    "Napoleon was exiled to the island of Saint Helena in 1815.",
    "The Pythagorean theorem relates the sides of a right triangle.",
    "A lawyer must not disclose what a client tells in confidence.",
    "The lease ends on 31 March 2027 unless it is renewed in writing.",
    "Interest rates were raised by a quarter of a percentage point.",
    "Kubernetes restarts a container whose liveness probe fails.",
    "A mutex protects shared state from concurrent access.",
    "The quick brown fox jumps over the lazy dog.",
    "Add two cloves of garlic, a pinch of salt and olive oil.",
    "The marathon is run over 42.195 kilometres.",
    "Our flight was delayed by three hours because of fog.",
    "Please find attached the invoice for your order #48213.",
    "I would like to return these shoes; they are too small.",
    "The telescope observed a galaxy 13 billion light years away.",
    "Vaccines train the immune system to recognise a pathogen.",
    "Glaciers in the Alps have lost half of their ice since 1900.",
    "The novel tells the story of three sisters in a village.",
    "The orchestra tuned their instruments before the concert.",
    "Bitcoin fell below a key threshold on Tuesday.",
    "Wolves returned to the forest after a century.",
    "This movie is a complete waste of time!",
    "Best restaurant in town - I'd come back any day :-)",
    "Is there life on Mars?",
]

LANGUAGES = [
    "Der Hund läuft über die Straße und bellt laut.", "Fußgängerübergänge müssen beleuchtet sein.",
    "Le garçon mange une pomme à côté de l'église.", "¿Dónde está la biblioteca más cercana, señor?",
    "A reunião começará às três horas da manhã.", "Perché il caffè è così caro in questa città?",
    "De kinderen spelen buiten in de sneeuw.", "Flickan köpte två röda äpplen på torget.",
    "Zażółć gęślą jaźń.", "Příliš žluťoučký kůň úpěl ďábelské ódy.", "Árvíztűrő tükörfúrógép",
    "İstanbul'da ılık bir akşam, ığdır'a doğru.", "Tôi muốn một bát phở bò và một ly cà phê sữa đá.",
    "Москва — столица России.", "Ёлка стоит у нового дома.", "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.",
    "שלום, מה שלומך היום?", "مرحبا بالعالم، كيف حالك؟", "नमस्ते दुनिया, आप कैसे हैं?", "สวัสดีชาวโลก",
    "我喜欢在早上喝咖啡。", "東京は日本の首都です。", "ひらがなとカタカナと漢字", "안녕하세요, 세계!", "გამარჯობა მსოფლიო",
    "Բարեւ աշխարհ", "ሰላም ለዓለም", "வணக்கம் உலகம்", "Mixed 中文 and English 文本 in one линия",
]

ODD = [
    "", " ", "\t\n", "a", ".", "?!", "...", "7", "1,234,567.89", "3.14159265358979323846", "-40 °C = -40 °F",
    "café", "cafe\u0301", "naïve façade coöperate", "ﬁne ﬂuﬀy ligatures", "Ｆｕｌｌｗｉｄｔｈ　ｔｅｘｔ", "x² + y² = z²", "½ + ¼ = ¾",
    "€ 5 £ 6 ¥ 7 ₿ 8", "“quoted” – and — dashes…", "soft\u00adhyphen", "zero\u200bwidth\u200djoiner\ufeff",
    "👍", "👨‍👩‍👧‍👦 family 🎉🎉🎉", "I ❤️ this 🇩🇪", "\u202eright to left\u202c", "tab\tand\nnew\r\nlines",
    "control\u0001\u0002\u007f characters\u0085here", "replacement \ufffd character", "private \ue000 use \U000f0000",
    "[CLS] [SEP] [MASK] [PAD] [UNK]", "hello [SEP] world", "[mask]", "##ing ##ed", "un##believable",
    "https://www.example.com/path/to?query=value&other=1#fragment", "someone@example.org", "C:\\Windows\\System32\\drivers",
    "def add(a, b):\n    return a + b", "for (int i = 0; i < n; i++) sum += x[i];", "SELECT name FROM users WHERE id = 42;",
    '{"key": "value", "list": [1, 2, 3], "nested": {"a": null}}', "<p class=\"x\">Hello, <b>world</b>!</p>",
    "ERROR 2026-11-27T17:04:11Z worker[4711]: segfault at 0x0", "a" * 100, "b" * 101, "supercalifragilisticexpialidocious",
    "Donaudampfschifffahrtsgesellschaftskapitän", "pneumonoultramicroscopicsilicovolcanoconiosis", "zzzzqxj kwyjibo",
    "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG.", "the QUICK brown FOX", "AT&T's R&D e.g. U.S.A. v. U.K.",
    "no", "No.", "NO!!!", "not bad at all", "bad, not at all", "\U00020000\U0002a6d6", "a,b,c;d:e", "--help -v /?",
]


def words(count, start):
    """So many words of the sentences."""
    every = " ".join(SENTENCES).split()
    return " ".join(every[(start + i) % len(every)] for i in range(count))


def texts():
    out = [text for group in PARAPHRASES for text in group] + SENTENCES + LANGUAGES + ODD
    out += [SENTENCES[0], LANGUAGES[20], SENTENCES[22]]  # the same once more
    out += [words(count, 5 * count) for count in (3, 5, 12, 15, 16, 17, 23, 31, 33, 47, 63, 65, 90, 127, 129, 150)]
    out += [words(count, 7 * count) for count in (180, 210, 250, 400, 1000)]  # the last ones are cut off
    out += ["dog " * count for count in (2, 14, 62, 253, 254, 255, 500)]      # 254 of them just fit
    out += ["我" * 254 + "x", "🎉" * 300, "x" * 5000, ". " * 270, "a-b " * 100]
    return out


def main(folder):
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    model = SentenceTransformer(folder, device="cpu")
    every = texts()
    tokens = [len(ids) for ids in model.tokenizer(every, truncation=False)["input_ids"]]
    vectors = model.encode(every, batch_size=1)
    assert vectors.dtype == np.float32 and np.isfinite(vectors).all()
    here = pathlib.Path(__file__).parent
    np.save(here / "minilm.npy", vectors)
    (here / "minilm.json").write_text(json.dumps({"texts": every, "tokens": tokens}, ensure_ascii=True, indent=0) + "\n")
    print(f"{len(every)} texts of {min(tokens)} to {max(tokens)} tokens, {sum(n > model.max_seq_length for n in tokens)} cut off")


if __name__ == "__main__":
    main(*sys.argv[1:])
