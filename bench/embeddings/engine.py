"""One engine that calculates embeddings, on one core: bench/embeddings/run starts it with the Python of the venv.

    engine.py NAME FOLDER CACHE

FOLDER is the model's, CACHE one for converted models. It prints a line of JSON: {"version": ...}, or {"unavailable": why}.
Then it reads requests, a line of JSON each, and answers each with a line:

    {"texts": [...], "order": "own" | "tokens", "vectors": path or null}
    {"texts": 384, "tokens": 21000, "padding": 1.4, "seconds": 9.1, "cpu_seconds": 9.1}

Every engine gets batches of 32. "own" is the order of sentence-transformers, by characters; "tokens" is by the number of
tokens, with which least is padded. The time has the tokenizer in it, and pooling, and what makes the length 1.
"""

import json
import os
import sys
import time

BATCH = 32
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"


def pooled(hidden, mask):
    """The mean over the tokens that are no padding, of length 1."""
    import numpy as np
    weights = mask[:, :, None].astype(np.float32)
    means = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


class SentenceTransformers:
    """As its users call it: encode() with all texts. In token order it gets one batch a call, since it sorts by itself."""

    def __init__(self, folder, cache):
        import sentence_transformers
        import torch
        torch.set_num_threads(1)
        self.version = sentence_transformers.__version__ + ", torch " + torch.__version__.split("+")[0]
        self.model = sentence_transformers.SentenceTransformer(folder, device="cpu")

    def encode(self, texts):
        return self.model.encode(texts, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)


class Batches:
    """An engine that takes token ids. It gets the tokenizer of Hugging Face, with padding up to the longest of a batch."""

    def __init__(self, folder):
        from tokenizers import Tokenizer
        with open(os.path.join(folder, "sentence_bert_config.json"), encoding="utf-8") as file:
            most = json.load(file)["max_seq_length"]
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.enable_truncation(most)
        self.tokenizer.enable_padding()

    def encode(self, texts):
        import numpy as np
        found = self.tokenizer.encode_batch(texts)
        ids, mask = (np.array([getattr(f, name) for f in found], dtype=np.int64) for name in ("ids", "attention_mask"))
        return pooled(self.hidden(ids, mask), mask)


def export(folder, cache):
    """The model as ONNX, with the operators that ONNX Runtime has for BERT."""
    path = os.path.join(cache, "model.onnx")
    if os.path.exists(path):
        return path
    import torch
    import transformers
    from onnxruntime.transformers import optimizer
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval().requires_grad_(False)

    class Hidden(torch.nn.Module):
        """Only the last hidden state goes out."""

        def forward(self, input_ids, attention_mask, token_type_ids):
            return model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]

    names = ["input_ids", "attention_mask", "token_type_ids"]
    one = torch.ones(2, 16, dtype=torch.int64)
    plain = os.path.join(cache, "plain.onnx")
    torch.onnx.export(Hidden(), (one, one, one * 0), plain, input_names=names, output_names=["hidden"], dynamo=False,
                      opset_version=17, dynamic_axes={name: {0: "texts", 1: "tokens"} for name in (*names, "hidden")})
    config = model.config
    made = optimizer.optimize_model(plain, model_type="bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size)
    made.save_model_to_file(path + ".part")
    os.replace(path + ".part", path)
    return path


class OnnxRuntime(Batches):
    def __init__(self, folder, cache):
        super().__init__(folder)
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.version = onnxruntime.__version__
        self.session = onnxruntime.InferenceSession(self.file(folder, cache), options, providers=["CPUExecutionProvider"])

    def file(self, folder, cache):
        return export(folder, cache)

    def hidden(self, ids, mask):
        import numpy as np
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        takes = {i.name: np.int32 if "int32" in i.type else np.int64 for i in self.session.get_inputs()}
        return self.session.run(None, {name: given[name].astype(kind) for name, kind in takes.items()})[0]


class OnnxRuntimeInt8(OnnxRuntime):
    def file(self, folder, cache):
        path = os.path.join(cache, "int8.onnx")
        if not os.path.exists(path):
            import onnx
            from onnxruntime.quantization import QuantType, quantize_dynamic
            # The types behind operators of ONNX Runtime's own are not known to onnx: they are floats.
            quantize_dynamic(export(folder, cache), path + ".part", per_channel=True, weight_type=QuantType.QInt8,
                             extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
            os.replace(path + ".part", path)
        return path


class CTranslate2(Batches):
    compute_type = "float32"

    def __init__(self, folder, cache):
        super().__init__(folder)
        import ctranslate2
        path = os.path.join(cache, "ctranslate2")
        if not os.path.exists(path):
            import ctranslate2.converters
            ctranslate2.converters.TransformersConverter(folder).convert(path + ".part", force=True)
            os.replace(path + ".part", path)
        self.version = ctranslate2.__version__
        self.model = ctranslate2.Encoder(path, device="cpu", compute_type=self.compute_type, inter_threads=1, intra_threads=1)

    def hidden(self, ids, mask):
        import ctranslate2
        import numpy as np
        lengths = mask.sum(axis=1).astype(np.int32)
        done = self.model.forward_batch(ctranslate2.StorageView.from_array(ids.astype(np.int32)),
                                        ctranslate2.StorageView.from_array(lengths))
        return np.array(done.last_hidden_state)


class CTranslate2Int8(CTranslate2):
    compute_type = "int8"


ENGINES = {"st_fp32": SentenceTransformers, "ort_fp32": OnnxRuntime, "ort_int8": OnnxRuntimeInt8, "ct2_fp32": CTranslate2,
           "ct2_int8": CTranslate2Int8}


class Run:
    """Feeds an engine."""

    def __init__(self, engine, folder):
        self.engine = engine
        self.counter = Batches(folder).tokenizer
        self.counter.no_padding()

    def batches(self, texts, lengths, order):
        """The places of the texts, longest first, in batches; ties stay in the order of the texts."""
        by = [-len(text) for text in texts] if order == "own" else [-length for length in lengths]
        places = sorted(range(len(texts)), key=by.__getitem__)
        return [places[at:at + BATCH] for at in range(0, len(places), BATCH)]

    def one(self, texts, order, vectors):
        import numpy as np
        lengths = [len(f.ids) for f in self.counter.encode_batch(texts)]
        batches = self.batches(texts, lengths, order)
        self.engine.encode([texts[at] for at in batches[-1]])  # to warm up
        start, cpu_start = time.monotonic(), time.process_time()
        if order == "own" and isinstance(self.engine, SentenceTransformers):
            made = self.engine.encode(texts)
        else:
            parts = [self.engine.encode([texts[at] for at in batch]) for batch in batches]
            made = np.empty((len(texts), parts[0].shape[1]), dtype=np.float32)
            made[[at for batch in batches for at in batch]] = np.concatenate(parts)
        seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu_start
        if vectors:
            made.astype(np.float32).tofile(vectors)
        padded = sum(len(batch) * max(lengths[at] for at in batch) for batch in batches)
        return {"texts": len(texts), "tokens": sum(lengths), "padding": padded / sum(lengths), "seconds": seconds,
                "cpu_seconds": cpu_seconds}


def main():
    name, folder, cache = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    os.makedirs(cache, exist_ok=True)

    def answer(what):
        print(json.dumps(what), file=answers, flush=True)

    try:
        run = Run(ENGINES[name](folder, cache), folder)
    except Exception as why:  # any reason is a reason to go on without it
        answer({"unavailable": f"{type(why).__name__}: {why}".splitlines()[0][:200]})
        return
    answer({"version": run.engine.version})
    for line in sys.stdin:
        request = json.loads(line)
        answer(run.one(request["texts"], request["order"], request["vectors"]))


if __name__ == "__main__":
    main()
