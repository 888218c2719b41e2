#!/usr/bin/python3
"""make_model.py FOLDER [OPTION...]: writes a small sentence-transformers folder of the BERT family with random weights, for
tests. The same options give the same bytes. The weights have the scale of trained ones: attention is neither flat nor a
single token, and every part of the model moves the result. `--help` lists the options; numpy is all that it needs.

The vocabulary has the special tokens first, with the ids 0 to 4; then the printable characters of ASCII and some of other
scripts, each as a word and as the end of one ("##a"), and then words and ends of words of some syllables.
"""
import argparse
import json
import pathlib
import struct

import numpy as np

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = [chr(c) for c in range(33, 127) if not chr(c).isupper()] + list("éßжя中文カ한אक")


def options():
    p = argparse.ArgumentParser(description="writes a small random model", usage="make_model.py FOLDER [OPTION...]")
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--hidden", type=int, default=64)
    p.add_argument("--layers", type=int, default=2)
    p.add_argument("--heads", type=int, default=4)
    p.add_argument("--intermediate", type=int, default=256)
    p.add_argument("--vocabulary", type=int, default=1000)
    p.add_argument("--positions", type=int, default=512)
    p.add_argument("--max-length", type=int, help="max_seq_length; without it there is no sentence_bert_config.json")
    p.add_argument("--pooling", choices=["mean", "cls"], default="mean")
    p.add_argument("--normalize", action="store_true")
    p.add_argument("--no-modules", action="store_true", help="a plain folder of transformers: config, tokenizer, weights")
    p.add_argument("--prompt", help="default prompt, which comes before each text")
    p.add_argument("--cased", action="store_true", help="a tokenizer that keeps upper case and accents")
    p.add_argument("--prefix", default="", help='comes before the names of the tensors: "bert."')
    p.add_argument("--dtype", choices=["F32", "F16", "BF16"], default="F32")
    p.add_argument("--unaligned", action="store_true", help="the numbers of the file begin at an odd offset")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--fill", type=float, help="all weights are this number")
    p.add_argument("--huge-word", type=int, help="the id of a word whose row has numbers near the end of float32")
    return p.parse_args()


def vocabulary(count):
    """Never the same word twice: each syllable has one consonant and one vowel."""
    consonants, vowels = "bcdfghjklmnprstvwz", "aeiou"
    syllables = [c + v for c in consonants for v in vowels]
    words = SPECIAL + CHARACTERS + ["##" + c for c in CHARACTERS]
    length = 1
    while len(words) < count:
        for i in range(len(syllables)**length):
            word = "".join(syllables[i // len(syllables)**j % len(syllables)] for j in range(length))
            words += [word, "##" + word]
            if len(words) >= count:
                break
        length += 1
    return words[:count]


def tensors(o):
    """(name, shape, mean, deviation) of each. A matrix has 1 / sqrt(inputs), so that its outputs have the size of its
    inputs."""
    def linear(name, outputs, inputs):
        return [(name + ".weight", (outputs, inputs), 0, inputs**-0.5), (name + ".bias", (outputs, ), 0, 0.1)]

    def norm(name):
        return [(name + ".weight", (o.hidden, ), 1, 0.25), (name + ".bias", (o.hidden, ), 0, 0.1)]

    yield "embeddings.word_embeddings.weight", (o.vocabulary, o.hidden), 0, 0.05
    yield "embeddings.position_embeddings.weight", (o.positions, o.hidden), 0, 0.02
    yield "embeddings.token_type_embeddings.weight", (2, o.hidden), 0, 0.02
    yield from norm("embeddings.LayerNorm")
    for i in range(o.layers):
        layer = f"encoder.layer.{i}."
        for part in ["self.query", "self.key", "self.value", "output.dense"]:
            yield from linear(layer + "attention." + part, o.hidden, o.hidden)
        yield from norm(layer + "attention.output.LayerNorm")
        yield from linear(layer + "intermediate.dense", o.intermediate, o.hidden)
        yield from linear(layer + "output.dense", o.hidden, o.intermediate)
        yield from norm(layer + "output.LayerNorm")
    yield from linear("pooler.dense", o.hidden, o.hidden)  # as real folders have it; nothing reads it


def encode(numbers, dtype):
    if dtype == "F32":
        return numbers.astype("<f4").tobytes()
    if dtype == "F16":
        return numbers.astype("<f2").tobytes()
    bits = numbers.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()  # to the nearest, ties to even


def write_safetensors(o, path):
    random = np.random.default_rng(o.seed)
    header, data = {"__metadata__": {"format": "pt"}}, []
    at = 0
    for name, shape, mean, deviation in tensors(o):
        numbers = mean + deviation * random.standard_normal(shape)
        if o.fill is not None:
            numbers[:] = o.fill
        if o.huge_word is not None and "word_embeddings" in name:
            numbers[o.huge_word] = np.where(np.arange(o.hidden) % 2, 3e38, -3e38)
        data.append(encode(numbers, o.dtype))
        header[o.prefix + name] = {"dtype": o.dtype, "shape": shape, "data_offsets": [at, at + len(data[-1])]}
        at += len(data[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + (1 if o.unaligned else 0))
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def tokenizer(words, cased):
    special = [{"id": i, "special": True, "content": word, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False} for i, word in enumerate(SPECIAL)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": not cased},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                                      {"Sequence": {"id": "A", "type_id": 0}},
                                      {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
                           "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                                    {"Sequence": {"id": "A", "type_id": 0}},
                                    {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
                                    {"Sequence": {"id": "B", "type_id": 1}},
                                    {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
                           "special_tokens": {word: {"id": word, "ids": [SPECIAL.index(word)], "tokens": [word]}
                                              for word in ["[CLS]", "[SEP]"]}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {word: i for i, word in enumerate(words)}},
    }


def main():
    o = options()

    def write(name, value):
        path = o.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    words = vocabulary(o.vocabulary)
    write("config.json", {
        "architectures": ["BertModel"], "hidden_act": "gelu", "hidden_size": o.hidden, "intermediate_size": o.intermediate,
        "layer_norm_eps": 1e-12, "max_position_embeddings": o.positions, "model_type": "bert",
        "num_attention_heads": o.heads, "num_hidden_layers": o.layers, "pad_token_id": 0,
        "position_embedding_type": "absolute", "type_vocab_size": 2, "vocab_size": o.vocabulary})
    write("tokenizer.json", tokenizer(words, o.cased))
    write("tokenizer_config.json", {"do_lower_case": not o.cased, "strip_accents": None, "tokenize_chinese_chars": True,
                                    "tokenizer_class": "BertTokenizer", "model_max_length": o.positions})
    (o.folder / "vocab.txt").write_text("".join(word + "\n" for word in words))
    write_safetensors(o, o.folder / "model.safetensors")
    if o.no_modules:
        return
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write("modules.json", [{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind}
                           for i, (path, kind) in enumerate(kinds if o.normalize else kinds[:2])])
    write("1_Pooling/config.json", {
        "word_embedding_dimension": o.hidden, "pooling_mode_cls_token": o.pooling == "cls",
        "pooling_mode_mean_tokens": o.pooling == "mean", "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False})
    if o.max_length is not None:
        write("sentence_bert_config.json", {"max_seq_length": o.max_length, "do_lower_case": False})
    if o.prompt is not None:
        write("config_sentence_transformers.json", {"prompts": {"query": o.prompt}, "default_prompt_name": "query"})


if __name__ == "__main__":
    main()
