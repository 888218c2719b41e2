"""The texts that are embedded: pieces of this project's own prose, the same in each run of one commit."""

import glob
import itertools
import math
import os
import random
import re

import measure

TOKENS_A_WORD = 1.15  # of this prose, about
MIX_MEAN, MIX_SIGMA = 56, 0.8
LONG_WORDS = 260  # more than 256 tokens: what is over is cut off

COUNTS = {"short": 768, "mix": 384, "long": 32}


def words():
    """The prose's words, over and over."""
    found = []
    for path in sorted([*glob.glob(os.path.join(measure.ROOT, "docs", "*.md")), os.path.join(measure.ROOT, "README.md")]):
        with open(path, encoding="utf-8") as file:
            found += re.findall(r"[A-Za-z][a-z'-]*[.,:]?(?=\s)", file.read())
    return itertools.cycle(found)


def lengths(row):
    """Of the texts, in words."""
    chance = random.Random(14)
    if row == "long":
        return [LONG_WORDS] * COUNTS[row]
    if row == "short":
        return [chance.randint(5, 8) for _ in range(COUNTS[row])]
    mean = math.log((MIX_MEAN - 2) / TOKENS_A_WORD) - MIX_SIGMA**2 / 2
    return [max(1, min(LONG_WORDS, round(chance.lognormvariate(mean, MIX_SIGMA)))) for _ in range(COUNTS[row])]


def texts(row):
    source = words()
    return [" ".join(itertools.islice(source, length)) for length in lengths(row)]
