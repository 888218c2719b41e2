#!/usr/bin/python3
"""reference.py FOLDER IDS_FILE OUT_FILE [--normalize yes|no]: the vectors of a model of the BERT family, computed plainly
in float64 (Devlin et al. 2018, https://arxiv.org/abs/1810.04805; pooling as sentence-transformers does it). It shares no
code with the encoder that it checks.

IDS_FILE has a text a line: the ids of its tokens, [CLS] and [SEP] included, with spaces between them. OUT_FILE gets a row
of little-endian float32 for each. Pooling and normalisation are those of the folder, unless --normalize says otherwise.
"""
import json
import math
import pathlib
import struct
import sys

import numpy as np

erf = np.frompyfunc(math.erf, 1, 1)  # numpy has none


def read_safetensors(path):
    """{name: float64 array}, without "bert." before the names."""
    content = path.read_bytes()
    size, = struct.unpack_from("<Q", content)
    tensors = {}
    for name, t in json.loads(content[8:8 + size]).items():
        if name == "__metadata__" or t["dtype"] not in ("F32", "F16", "BF16"):
            continue
        begin, end = t["data_offsets"]
        data = content[8 + size + begin:8 + size + end]
        if t["dtype"] == "BF16":
            numbers = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        else:
            numbers = np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[t["dtype"]])
        tensors[name.removeprefix("bert.")] = numbers.astype(np.float64).reshape(t["shape"])
    return tensors


def read_json(path, default):
    return json.loads(path.read_text()) if path.exists() else default


class Model:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        config = read_json(folder / "config.json", None)
        modules = read_json(folder / "modules.json", [])
        pooling = read_json(folder / "1_Pooling" / "config.json", {})
        self.tensors = read_safetensors(folder / "model.safetensors")
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.epsilon = config["layer_norm_eps"]
        self.cls = pooling.get("pooling_mode_cls_token", False)
        self.normalize = any(m["type"].endswith(".Normalize") for m in modules)

    def linear(self, name, x):
        return x @ self.tensors[name + ".weight"].T + self.tensors[name + ".bias"]

    def norm(self, name, x):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.epsilon)
        return scaled * self.tensors[name + ".weight"] + self.tensors[name + ".bias"]

    def attention(self, layer, x):
        def split(name):  # tokens x hidden -> heads x tokens x size of a head
            return self.linear(layer + name, x).reshape(len(x), self.heads, -1).transpose(1, 0, 2)

        query, key, value = split("self.query"), split("self.key"), split("self.value")
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return self.linear(layer + "output.dense", (weights @ value).transpose(1, 0, 2).reshape(x.shape))

    def layer(self, i, x):
        name = f"encoder.layer.{i}."
        x = self.norm(name + "attention.output.LayerNorm", x + self.attention(name + "attention.", x))
        up = self.linear(name + "intermediate.dense", x)
        up = up * 0.5 * (1 + erf(up / math.sqrt(2)).astype(np.float64))
        return self.norm(name + "output.LayerNorm", x + self.linear(name + "output.dense", up))

    def embed(self, ids):
        """The vector of one text, float64."""
        x = (self.tensors["embeddings.word_embeddings.weight"][ids]
             + self.tensors["embeddings.position_embeddings.weight"][:len(ids)]
             + self.tensors["embeddings.token_type_embeddings.weight"][0])
        x = self.norm("embeddings.LayerNorm", x)
        for i in range(self.layers):
            x = self.layer(i, x)
        vector = x[0] if self.cls else x.mean(0)
        return vector / max(np.linalg.norm(vector), 1e-12) if self.normalize else vector


def main(folder, ids_file, out_file, option="", value=""):
    model = Model(folder)
    if option == "--normalize":
        model.normalize = value == "yes"
    with open(ids_file, encoding="ascii") as lines, open(out_file, "wb") as out:
        for line in lines:
            out.write(model.embed([int(word) for word in line.split()]).astype("<f4").tobytes())


if __name__ == "__main__":
    if len(sys.argv) not in (4, 6):
        sys.exit(__doc__)
    main(*sys.argv[1:])
