"""The venv with the other engines, and one engine of it as a process."""

import contextlib
import json
import os
import subprocess
import venv

import measure

# What is installed for an engine, and its name in the table.
PACKAGES = {
    "st_fp32": ("sentence-transformers", "sentence-transformers fp32"),
    "ort_fp32": ("onnxruntime onnx", "ONNX Runtime fp32"),
    "ort_int8": ("onnxruntime onnx", "ONNX Runtime int8"),
    "ct2_fp32": ("ctranslate2", "CTranslate2 fp32"),
    "ct2_int8": ("ctranslate2", "CTranslate2 int8"),
}
ENGINE = os.path.join(measure.ROOT, "bench", "embeddings", "engine.py")


def python_of(path):
    """The Python of that venv. One that is given must be there; the one in the build is made, with pip."""
    if path:
        found = os.path.join(path, "bin", "python")
        if not os.path.exists(found):
            raise measure.Wrong(f"{path} is no venv")
        return found
    path = os.path.join(measure.BUILD, "embeddings-venv")
    python = os.path.join(path, "bin", "python")
    if not os.path.exists(os.path.join(path, "complete")):
        venv.create(path, with_pip=True, clear=True)
        for packages in dict.fromkeys(p for p, _ in PACKAGES.values()):
            print(f"  pip install {packages}", flush=True)
            if subprocess.run([python, "-m", "pip", "install", "--quiet", *packages.split()], check=False).returncode != 0:
                print(f"  {packages} cannot be installed", flush=True)
        with open(os.path.join(path, "complete"), "w", encoding="ascii"):
            pass
    return python


class Engine:
    """An engine that waits for texts. `unavailable` says why there is none; otherwise it has a version."""

    def __init__(self, python, name, folder, core):
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), python, "-W", "ignore", ENGINE, name, folder, os.path.join(measure.BUILD, "embeddings")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found = self.answer()
        self.unavailable = found.get("unavailable", "")
        self.label = f"{PACKAGES[name][1]} {found.get('version', '')}".strip()

    def answer(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"unavailable": f"it ended with {self.process.wait()}"}

    def run(self, texts, order, vectors=None):
        print(json.dumps({"texts": texts, "order": order, "vectors": vectors}), file=self.process.stdin, flush=True)
        found = self.answer()
        if "unavailable" in found:
            raise measure.Wrong(f"{self.label}: {found['unavailable']}")
        return found

    def stop(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def engines(python, folder, core):
    """All engines, by their names, also those that are not available."""
    found = {}
    try:
        for name in PACKAGES:
            found[name] = Engine(python, name, folder, core)
            if found[name].unavailable:
                print(f"  {PACKAGES[name][1]} is skipped: {found[name].unavailable}", flush=True)
        yield found
    finally:
        for engine in found.values():
            engine.stop()
