"""The texts that are embedded: pieces of this project's own prose, the same in each run of one commit."""

import functools
import glob
import itertools
import json
import math
import os
import random
import re

import measure

MIX_MEAN, MIX_SIGMA = 56, 0.8
MOST = 256  # tokens of a text: what the model reads
SPECIAL = 2  # the tokens before and behind a text

COUNTS = {"short": 768, "mix": 384, "long": 32}


def pieces(word, vocabulary):
    """How many tokens a word of ASCII is: the longest pieces that the vocabulary has, from the left (WordPiece)."""
    count = 0
    for run in re.findall(r"[a-z]+|[^a-z]", word.lower()):
        at = 0
        while at < len(run):
            at = next((end for end in range(len(run), at, -1) if ("##" if at else "") + run[at:end] in vocabulary), len(run))
            count += 1
    return count


@functools.cache
def words(folder):
    """The prose's words, each with its tokens."""
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as file:
        vocabulary = json.load(file)["model"]["vocab"]
    found = []
    for path in sorted([*glob.glob(os.path.join(measure.ROOT, "docs", "*.md")), os.path.join(measure.ROOT, "README.md")]):
        with open(path, encoding="utf-8") as file:
            found += re.findall(r"[A-Za-z][a-z'-]*[.,:]?(?=\s)", file.read())
    return [(word, pieces(word, vocabulary)) for word in found]


def lengths(row):
    """Of the texts, in tokens."""
    chance = random.Random(14)
    if row == "long":
        return [MOST] * COUNTS[row]
    if row == "short":
        return [chance.randint(8, 12) for _ in range(COUNTS[row])]
    mean = math.log(MIX_MEAN) - MIX_SIGMA**2 / 2
    return [max(SPECIAL + 2, min(MOST, round(chance.lognormvariate(mean, MIX_SIGMA)))) for _ in range(COUNTS[row])]


@functools.cache
def texts(folder, row):
    """At most so many tokens each; a word that would not fit is left out."""
    source, made = itertools.cycle(words(folder)), []
    for length in lengths(row):
        text, left = [], length - SPECIAL
        while left > 0:
            word, tokens = next(source)
            if tokens <= left:
                text.append(word)
                left -= tokens
        made.append(" ".join(text))
    return made
