"""Four images, four filters each: a map with a call for each pair. Images travel as base64 in JSON.

    offloadd --python tasks.py
    python3 over_http.py [SIZE]       makes images of SIZE (400) pixels in square, and filters them
"""

import hashlib
import io
import sys
import time
from itertools import product

import offload
from PIL import Image, ImageDraw
from tasks import process_image

FILTERS = ["blur", "edges", "grey", "sepia"]


def make_images(size):
    """Four pictures, the same ones in each run."""
    fractal = Image.effect_mandelbrot((size, size), (-2.2, -1.4, 0.8, 1.4), 60)
    across, round_ = Image.linear_gradient("L").resize((size, size)), Image.radial_gradient("L").resize((size, size))
    tiles = Image.new("RGB", (size, size), "navy")
    draw = ImageDraw.Draw(tiles)
    for x, y in product(range(0, size, 40), repeat=2):
        draw.ellipse((x, y, x + 30, y + 30), fill=(x % 256, y % 256, (x * y) % 256), outline="white")
    pictures = [
        Image.merge("RGB", (fractal, across, round_)),
        Image.merge("RGB", (across, round_.transpose(Image.ROTATE_90), fractal)),
        tiles,
        Image.blend(tiles, Image.merge("RGB", (round_, fractal, across)), 0.5),
    ]
    files = []
    for picture in pictures:
        files.append(io.BytesIO())
        picture.save(files[-1], "PNG")
    return [file.getvalue() for file in files]


def main():
    images = make_images(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
    began = time.perf_counter()
    with offload.Client() as client:
        calls = [{"image": image, "kind": kind} for image, kind in product(images, FILTERS)]
        results = list(client.map(process_image, calls))  # by the function, whose annotation says: bytes
    print(f"{len(results)} images took {time.perf_counter() - began:.2f} s.")
    pixels = b"".join(Image.open(io.BytesIO(result)).tobytes() for result in results)
    print(f"result: {len(pixels)} bytes of pixels with the digest {hashlib.sha256(pixels).hexdigest()[:16]}")


if __name__ == "__main__":
    main()
