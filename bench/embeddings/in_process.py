"""Rows about the encoder without HTTP, beside other engines: each on one core, with the same texts, its own tokenizer in
the time. The rate is that of a second of CPU time, so that what else runs on the core does not count."""

import array
import json
import math
import os
import re
import statistics
import subprocess

import measure
import texts
from report import Row

OWN = {"fx16": "own fx16", "fp32": "own fp32", "bf16": "own bf16"}
FP32, INT8 = ("st_fp32", "ort_fp32", "ct2_fp32"), ("ort_int8", "ct2_int8")
# What the issue of the embeddings asks for: for short, mix and long texts.
GOALS = {"st_fp32": (2.6, 2.5, 1.6), "ort_fp32": (2.6, 2.5, 1.6), "best_fp32": (1.6, 1.7, 1.6), "best_int8": (1.0, 1.35, 1.05),
         "own_fp32": (1.1, 1.2, 1.1), "bf16": (4, 4, 4)}
COSINES = {"fx16": 0.99999, "fp32": 0.999999, "bf16": 0.9999}
SECONDS = 3


def write_texts(asked, directory, row):
    path = os.path.join(directory, row + ".txt")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(text + "\n" for text in texts.texts(asked.folder, row))
    return path


def own(asked, path, precision, *options, core=None):
    """What bench/encoder says; if that precision cannot be had here, {"missing": why}."""
    pin = [] if core is None else ["taskset", "-c", str(core)]
    done = subprocess.run([*pin, os.path.join(measure.BUILD, "bench", "encoder"), asked.folder, "--texts", path, "--precision",
                           precision, *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        missing = re.search(r"cannot be had: (.*)", done.stderr)
        if missing:
            return {"missing": missing[1]}
        raise measure.Wrong(f"bench/encoder: {done.stderr}")
    return json.loads(done.stdout)


class Contest:
    """All engines with the texts of one row."""

    def __init__(self, asked, row, engines, directory):
        self.asked, self.row, self.directory = asked, row, directory
        self.path, self.texts = write_texts(asked, directory, row), texts.texts(asked.folder, row)
        self.engines = {name: engine for name, engine in engines.items() if not engine.unavailable}
        found = {p: own(asked, self.path, p, "--seconds", "0") for p in OWN}
        self.missing = {p: f["missing"] for p, f in found.items() if "missing" in f}
        self.precisions = [p for p in OWN if p not in self.missing]
        self.amx = found["bf16"].get("kernel") == "bf16 amx"
        self.padding, self.tokens = {}, 0

    def vectors(self, name):
        return os.path.join(self.directory, f"{self.row}-{name}.vectors")

    def own_rate(self, precision):
        found = own(self.asked, self.path, precision, "--seconds", str(SECONDS), "--vectors", self.vectors("own_" + precision),
                    core=measure.CPUS[-1])
        self.tokens = found["tokens"] / found["texts"]
        return found["texts"] / found["cpu_seconds"]

    def peer_rate(self, name, order):
        found = self.engines[name].run(self.texts, order, self.vectors(name))
        self.padding[order] = found["padding"]
        return found["texts"] / found["cpu_seconds"]

    def round(self, number):
        """The rates by (engine, order); in turn, and the other way round in odd rounds."""
        turns = [(("own_" + p, "own"), lambda p=p: self.own_rate(p)) for p in self.precisions]
        # Texts of one length have one order.
        for order in ("own", "tokens") if self.row != "long" else ("own",):
            turns += [((n, order), lambda n=n, order=order: self.peer_rate(n, order)) for n in self.engines]
        return {key: work() for key, work in (turns if number % 2 == 0 else turns[::-1])}

    def cosines(self):
        """The smallest cosine of each engine to sentence-transformers."""
        wanted = self.engines and read_vectors(self.vectors("st_fp32"))
        names = [*("own_" + p for p in self.precisions), *(n for n in self.engines if n != "st_fp32")]
        return {n: smallest_cosine(wanted, read_vectors(self.vectors(n)), len(self.texts)) for n in names}


def read_vectors(path):
    found = array.array("f")
    with open(path, "rb") as file:
        found.frombytes(file.read())
    return found


def smallest_cosine(a, b, count):
    size = len(a) // count
    if len(a) != len(b) or len(a) != size * count:
        raise measure.Wrong("an engine has not calculated all vectors")
    smallest = 1
    for at in range(0, len(a), size):
        x, y = a[at:at + size], b[at:at + size]
        dot = math.fsum(i * j for i, j in zip(x, y, strict=True))
        smallest = min(smallest, dot / math.sqrt(math.fsum(i * i for i in x) * math.fsum(j * j for j in y)))
    return smallest


def best(names, done, order):
    """Of those engines the one with the largest median rate. None: none is there."""
    there = [n for n in names if (n, order) in done.results[0]]
    return max(there, key=lambda n: statistics.median(r[n, order] for r in done.results), default=None)


def ratio_row(contest, done, order, name, ours, theirs, missing):
    """Ours / theirs in each round. Only the own order of an engine has a goal, and bf16 on CPUs with AMX."""
    at = list(texts.COUNTS).index(contest.row)
    goal = f">= {GOALS[name][at]}" if order == "own" and (ours != "bf16" or contest.amx) else ""
    suffix = "" if order == "own" else "_by_tokens"
    row = Row(f"{contest.row}_{name}{suffix}", f"{contest.row}: ", "ratio", [], goal, done)
    if ("own_" + ours, "own") not in done.results[0]:
        row.what += f"{OWN[ours]}"
        row.skipped = contest.missing[ours]
    elif theirs is None:
        row.what += f"{OWN[ours]} / {missing}"
        row.skipped = "it is not installed"
    else:
        a, b = ([r[key] for r in done.results] for key in (("own_" + ours, "own"), (theirs, order)))
        row.what += f"{OWN[ours]} / {contest.engines[theirs].label}" + (", in token order" if order == "tokens" else "")
        row.values = [x / y for x, y in zip(a, b, strict=True)]
        a, b = statistics.median(a), statistics.median(b)
        row.note = f"{a:.1f} and {b:.1f} texts/s, {a * contest.tokens:.0f} and {b * contest.tokens:.0f} tokens/s a core"
        if contest.row != "long":
            row.note += f", padding {contest.padding[order]:.2f}"
        row.figures = {"own_texts_per_s": a, "peer_texts_per_s": b, "tokens_a_text": contest.tokens, "padding": contest.padding[order]}
    return row


def ratio_rows(contest, done):
    for order in ("own", "tokens") if contest.row != "long" else ("own",):
        fp32, int8 = best(FP32, done, order), best(INT8, done, order)
        for name in FP32[:2]:
            yield ratio_row(contest, done, order, name, "fx16", name if name in contest.engines else None, name)
        yield ratio_row(contest, done, order, "best_fp32", "fx16", fp32, "the best fp32")
        yield ratio_row(contest, done, order, "best_int8", "fx16", int8, "the best int8")
        yield ratio_row(contest, done, order, "own_fp32", "fp32", fp32, "the best fp32")
    yield ratio_row(contest, done, "own", "bf16", "bf16", "st_fp32" if "st_fp32" in contest.engines else None, "sentence-transformers")


def cosine_rows(contest):
    if "st_fp32" not in contest.engines:
        yield Row(f"{contest.row}_cosine", f"{contest.row}: smallest cosine to sentence-transformers", "cosine", [],
                  skipped="sentence-transformers is not installed")
        return
    for name, cosine in contest.cosines().items():
        precision = name.removeprefix("own_")
        label = OWN[precision] if precision in OWN else contest.engines[name].label
        yield Row(f"{contest.row}_cosine_{name}", f"{contest.row}: smallest cosine of {label}", "cosine", [cosine],
                  f">= {COSINES[precision]}" if precision in COSINES else "", note=f"1 - {1 - cosine:.1e}")


def contest_rows(asked, row, engines, directory):
    contest = Contest(asked, row, engines, directory)
    done = measure.rounds(contest.round)
    yield from ratio_rows(contest, done)
    yield from cosine_rows(contest)


def scaling_row(asked, row, directory):
    """Two processes against one, by the clock."""
    path = write_texts(asked, directory, row)

    def rate(processes):
        found = own(asked, path, "auto", "--seconds", str(SECONDS), "--processes", str(processes))
        return found["texts_per_s"], found["private_mb"]

    name, what = f"two_{row}", f"{row}: two processes / one"
    if len(measure.CPUS) < 2:
        return Row(name, what, "ratio", [], ">= 1.8", skipped="there is one CPU")
    done = measure.rounds(lambda number: measure.alternate(number, lambda: rate(2), lambda: rate(1)))
    return Row(name, what, "ratio", [two[0] / one[0] for two, one in done.results], ">= 1.8", done,
               f"{statistics.median(two[0] for two, _ in done.results):.1f} texts/s, "
               f"{max(two[1] for two, _ in done.results):.1f} MB of its own a process")
