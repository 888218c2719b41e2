"""FastAPI, Pillow and a Pool: the files in the body are filtered by Pool.starmap. bench/rows/images.py compares it with
offloadd. The pool is as large as the machine has CPUs, and it is there before the first request."""

import io
import multiprocessing
import sys
from contextlib import asynccontextmanager

sys.path.append("/usr/lib/python3/dist-packages")  # Debian's Pillow; what is installed in the environment goes before it
from fastapi import FastAPI, Request, Response  # noqa: E402 (the path is set just above)
from fastapi.concurrency import run_in_threadpool  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402

SEPIA = (0.393, 0.769, 0.189, 0, 0.349, 0.686, 0.168, 0, 0.272, 0.534, 0.131, 0)
pool = None


def process_image(file, kind):
    image = Image.open(io.BytesIO(file))
    if kind == "thumbnail":
        image.thumbnail((320, 320), Image.LANCZOS)  # it lets the decoder of JPEG leave out what it can
    image = ImageOps.exif_transpose(image).convert("RGB")
    if kind == "sepia":
        image = image.convert("RGB", SEPIA)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()


@asynccontextmanager
async def lifespan(_):
    global pool
    with multiprocessing.Pool() as pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/filter")
async def filter_images(request: Request, kind: str, sizes: str):
    """The files stand one behind the other in the body; so do those of the answer, whose header says their sizes."""
    body, calls, at = await request.body(), [], 0
    for size in map(int, sizes.split(",")):
        calls.append((body[at : at + size], kind))
        at += size
    files = await run_in_threadpool(pool.starmap, process_image, calls)
    return Response(b"".join(files), media_type="application/octet-stream",
                    headers={"X-Sizes": ",".join(str(len(file)) for file in files)})
