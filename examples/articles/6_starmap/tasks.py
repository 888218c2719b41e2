"""offloadd --python tasks.py"""

import io
from typing import Literal

import offload
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError


@offload.task
def process_image(image: bytes, kind: Literal["blur", "edges", "grey", "sepia"]) -> bytes:
    """Filters an image. The result is a PNG.

    Args:
        image: a file in any format that Pillow reads
        kind: which filter
    """
    try:
        picture = Image.open(io.BytesIO(image)).convert("RGB")
    except UnidentifiedImageError:
        raise offload.InvalidParams("/image", "is no image") from None
    if kind == "blur":
        picture = picture.filter(ImageFilter.GaussianBlur(8))
    elif kind == "edges":
        picture = picture.filter(ImageFilter.MedianFilter(7)).filter(ImageFilter.FIND_EDGES)
    elif kind == "grey":
        picture = ImageOps.autocontrast(picture.convert("L"))
    else:
        picture = ImageOps.colorize(picture.convert("L"), "#1b0f00", "#fff3d8", "#a5743b")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
