"""FastAPI and numpy: the sum of the doubles of a .npy file that is the body. bench/rows/data.py compares it with offloadd.

The body is read whole, as FastAPI's documentation does it, and numpy adds in a thread, so that the loop goes on."""

import io
import sys

sys.path.append("/usr/lib/python3/dist-packages")  # Debian's numpy; what is installed in the environment goes before it
import numpy as np  # noqa: E402 (the path is set just above)
from fastapi import FastAPI, Request  # noqa: E402
from fastapi.concurrency import run_in_threadpool  # noqa: E402

app = FastAPI()


def sum_of(body):
    return float(np.load(io.BytesIO(body), allow_pickle=False).sum())


@app.post("/sum")
async def add(request: Request):
    return {"sum": await run_in_threadpool(sum_of, await request.body())}


@app.get("/health")
async def health():
    return {"status": "ok"}
