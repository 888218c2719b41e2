"""Four images, four filters each: Pool.starmap on pixels, with Pillow.

    python3 FILE [SIZE]    makes images of SIZE (400) pixels in square, and filters them
"""

import hashlib
import io
import sys
import time
from itertools import product
from multiprocessing import Pool

from PIL import Image, ImageDraw, ImageFilter, ImageOps

FILTERS = ["blur", "edges", "grey", "sepia"]


def process_image(image, kind):
    """Filters an image. The image is the bytes of a file in any format, the result those of a PNG."""
    picture = Image.open(io.BytesIO(image)).convert("RGB")
    if kind == "blur":
        picture = picture.filter(ImageFilter.GaussianBlur(8))
    elif kind == "edges":
        picture = picture.filter(ImageFilter.MedianFilter(7)).filter(ImageFilter.FIND_EDGES)
    elif kind == "grey":
        picture = ImageOps.autocontrast(picture.convert("L"))
    elif kind == "sepia":
        picture = ImageOps.colorize(picture.convert("L"), "#1b0f00", "#fff3d8", "#a5743b")
    else:
        raise ValueError(f"there is no filter {kind!r}")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


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
    with Pool() as pool:
        results = pool.starmap(process_image, product(images, FILTERS))
    print(f"{len(results)} images took {time.perf_counter() - began:.2f} s.")
    pixels = b"".join(Image.open(io.BytesIO(result)).tobytes() for result in results)
    print(f"result: {len(pixels)} bytes of pixels with the digest {hashlib.sha256(pixels).hexdigest()[:16]}")


if __name__ == "__main__":
    main()
