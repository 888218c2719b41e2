#!/usr/bin/python3
"""embeddings.py COMMAND URL ...: what embeddings.bats asks of a service with models. Exits with 1, after a line, if it
does not hold.

    vectors URL LEAST          the vectors of tests/embed/minilm.json against those of sentence-transformers: the smallest
                               cosine is at least LEAST
    neighbours URL FILE NEARLY writes the vectors to FILE, or compares the ten nearest of each text with those of FILE
    reference URL MODEL FOLDER the model's vectors against tests/embed/reference.py, normalised as its files have it
    same URL MODEL             no bit depends on the batch, its order, its chunks, or on other clients
    crowd URL MODEL TEXTS      32 clients with one short text each
"""
import concurrent.futures
import io
import json
import os
import subprocess
import sys
import tempfile
import urllib.request

import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "embed")
NPY = "application/x-npy"


def wrong(text):
    print(text)
    sys.exit(1)


def embed(url, texts, chunks=None, **params):
    options = {} if chunks is None else {"chunks": chunks}
    job = {"type": "embeddings", "params": {"input": texts, "format": "npy", **params}, "options": options}
    request = urllib.request.Request(url + "/v1/jobs", json.dumps(job).encode(),
                                     {"Content-Type": "application/json", "Accept": NPY, "Prefer": "wait=120"})
    with urllib.request.urlopen(request) as answer:
        return np.load(io.BytesIO(answer.read()))


def varied_texts():
    """Those of minilm.json that are not empty, and their vectors."""
    with open(os.path.join(HERE, "minilm.json"), encoding="utf-8") as file:
        texts = json.load(file)["texts"]
    vectors = np.load(os.path.join(HERE, "minilm.npy"))
    kept = [i for i, text in enumerate(texts) if text != ""]
    return [texts[i] for i in kept], vectors[kept]


def cosines(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def vectors(url, least):
    texts, expected = varied_texts()
    found = cosines(embed(url, texts, truncate=True), expected)
    if found.min() < float(least):
        wrong(f"the cosine of text {found.argmin()} is {found.min():.8f}")


def neighbours(url, path, nearly):
    """Texts that are nearly as near as the tenth can change places with it: their cosines differ by less than `nearly`."""
    texts, _ = varied_texts()
    mine = embed(url, texts, truncate=True)
    if not os.path.exists(path):
        np.save(path, mine)
        return
    theirs = np.load(path)
    exact = theirs @ theirs.T
    np.fill_diagonal(exact, -2)
    near = mine @ mine.T
    np.fill_diagonal(near, -2)
    for text in range(len(texts)):
        tenth = np.sort(exact[text])[-10]
        for other in np.argsort(near[text])[-10:]:
            if exact[text][other] < tenth - float(nearly):
                wrong(f"text {other} is not among the ten nearest of {text}: {exact[text][other]} < {tenth}")


def reference(url, model, folder):
    with tempfile.TemporaryDirectory() as scratch:
        ids, out = os.path.join(scratch, "ids"), os.path.join(scratch, "out")
        rows = [[2, 7, 3], [2, 9, 11, 13, 17, 3], [2, *range(5, 60), 3], [2, 3], [2, 7, 3]]
        with open(ids, "w", encoding="ascii") as file:
            file.writelines(" ".join(map(str, row)) + "\n" for row in rows)
        subprocess.run([os.path.join(HERE, "reference.py"), folder, ids, out], check=True)
        expected = np.fromfile(out, "<f4").reshape(len(rows), -1)
        request = urllib.request.Request(url + "/v1/embeddings", json.dumps({"input": rows, "model": model}).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            got = np.array([row["embedding"] for row in json.load(answer)["data"]])
    if got.shape != expected.shape or abs(got - expected).max() > 2e-5:
        wrong(f"{model}: {abs(got - expected).max()} off" if got.shape == expected.shape else f"{got.shape}")


def same(url, model):
    texts, _ = varied_texts()
    texts = texts[:60]
    whole = embed(url, texts, truncate=True, model=model)
    order = np.random.default_rng(1).permutation(len(texts))
    for name, got in (
        ("in one chunk", embed(url, texts, chunks=1, truncate=True, model=model)),
        ("in 17 chunks", embed(url, texts, chunks=17, truncate=True, model=model)),
        ("in another order", embed(url, [texts[i] for i in order], truncate=True, model=model)[np.argsort(order)]),
    ):
        if got.tobytes() != whole.tobytes():
            wrong(f"{name} there are other bits")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        alone = list(pool.map(lambda text: embed(url, text, truncate=True, model=model), texts))
    for i, vector in enumerate(alone):
        if vector.tobytes() != whole[i:i + 1].tobytes():
            wrong(f"text {i} alone has other bits")


def crowd(url, model, texts):
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        params = {"input": "one of many short texts", "model": model}

        def asked(path, body):
            request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)

        def one(number):
            if number % 2:
                return tuple(asked("/v1/embeddings", params)["data"][0]["embedding"])
            return tuple(asked("/v1/jobs", {"type": "embeddings", "params": params})["result"]["embeddings"][0])

        if len(set(pool.map(one, range(int(texts))))) != 1:
            wrong("the same text has several vectors")


globals()[sys.argv[1]](*sys.argv[2:])
