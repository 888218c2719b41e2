"""Binary data: what comes with a call (docs/programs.md, "attachments"), and results that are bytes, not JSON.

An attachment is in pages that other processes have, too. It is mapped, and not copied, until the last object that uses
it is gone. numpy and Pillow are not imported here: whoever has an array or an image has done that.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import sys
from typing import Any, Optional

from ._errors import NoJson, Unfit

OCTETS = "application/octet-stream"
NPY = "application/x-npy"
NPY_MAGIC = b"\x93NUMPY"
LARGE = 64 << 10  # what has more bytes is passed in a memfd
MAX_HEADER = 64 << 10  # of an .npy


# ---- what comes ------------------------------------------------------------------------------------------------------


class Attachment:
    """Binary data that came with a call. `view` maps it anew each time."""

    __slots__ = ("data", "fd", "offset", "size", "media_type", "writable")

    def __init__(self, data: Optional[memoryview], fd: int, offset: int, size: int, media_type: str) -> None:
        self.data, self.fd, self.offset, self.size, self.media_type = data, fd, offset, size, media_type
        self.writable = False

    def view(self) -> memoryview:
        """The bytes: read-only, or a copy of its own whose pages are copied when they are written to."""
        if self.data is not None:
            return memoryview(bytearray(self.data)) if self.writable else self.data
        lead = self.offset % mmap.ALLOCATIONGRANULARITY
        access = mmap.ACCESS_COPY if self.writable else mmap.ACCESS_READ
        mapped = mmap.mmap(self.fd, lead + self.size, access=access, offset=self.offset - lead)
        return memoryview(mapped)[lead:]

    def close(self) -> None:
        """Its descriptor. What was mapped stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def read_attachments(listed: Any, binary: bytes, descriptors: list[int]) -> list[Attachment]:
    """Those of a frame. Raises a ValueError, a TypeError or a KeyError if they are not as they are said to be."""
    inline = memoryview(binary)
    found: list[Attachment] = []
    for one in listed:
        offset, size = int(one["offset"]), int(one["size"])
        if "fd" in one:
            fd = os.dup(descriptors[one["fd"]]) if size > 0 else -1
            found.append(Attachment(None if size > 0 else memoryview(b""), fd, offset, size, one["media_type"]))
        else:
            found.append(Attachment(inline[offset : offset + size], -1, 0, size, one["media_type"]))
    return found


def is_binary(schema: Any) -> bool:
    """Can a parameter of that schema be an attachment? As handlers/host/table_schema.c has it."""
    any_of = schema.get("anyOf")
    if any_of is not None:
        return len(any_of) == 2 and any_of[1] == {"type": "null"} and "anyOf" not in any_of[0] and is_binary(any_of[0])
    return schema.get("type") == "string" and schema.get("contentEncoding") == "base64"


# ---- arrays ----------------------------------------------------------------------------------------------------------


def array_of(view: memoryview) -> Any:
    """The array that the .npy holds, in the same memory."""
    import numpy
    from numpy.lib import format as npy

    if bytes(view[:6]) != NPY_MAGIC:
        raise Unfit("is not an array in the format .npy")
    try:
        head = io.BytesIO(view[: MAX_HEADER + 12])
        version = npy.read_magic(head)
        if version == (1, 0):
            shape, fortran, dtype = npy.read_array_header_1_0(head)
        elif version == (2, 0):
            shape, fortran, dtype = npy.read_array_header_2_0(head)
        else:
            shape, fortran, dtype = npy._read_array_header(head, version)  # type: ignore[attr-defined]
        if dtype.hasobject:
            raise Unfit("is an array of Python objects, which are not taken")
        if any(length < 0 for length in shape):
            raise ValueError("a dimension is negative")
        count = math.prod(shape)
        begin = head.tell()
        if count * dtype.itemsize > len(view) - begin:
            raise ValueError(f"its header says {count} values of {dtype}, but there are {len(view) - begin} bytes")
        if count == 0 or dtype.itemsize == 0:
            return numpy.empty(shape, dtype)
        flat = numpy.frombuffer(view, dtype, count, begin)
        return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    except Unfit:
        raise
    except Exception as error:
        raise Unfit(f"is not an array in the format .npy: {error}") from None


def npy_parts(array: Any, what: str) -> list[Any]:
    """The header and the data of an array as .npy, the data not copied if they lie in one piece. Raises NoJson."""
    import numpy
    from numpy.lib import format as npy

    array = numpy.asarray(array)
    if array.dtype.hasobject:
        raise NoJson(f"{what} is an array that cannot be sent as .npy: Object arrays cannot be saved when "
                     "allow_pickle=False")
    head = io.BytesIO()
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    about = npy.header_data_from_array_1_0(array)
    about["fortran_order"] = fortran
    try:
        npy.write_array_header_1_0(head, about)
    except (ValueError, UnicodeError):
        npy._write_array_header(head, about, None)  # type: ignore[attr-defined]
    if array.size == 0 or array.dtype.itemsize == 0:
        return [head.getvalue()]
    flat = array.T if fortran else numpy.ascontiguousarray(array)
    return [head.getvalue(), memoryview(flat.reshape(-1).view(numpy.uint8))]


# ---- images ----------------------------------------------------------------------------------------------------------


class ViewFile(io.RawIOBase):
    """A file that reads what lies in memory."""

    def __init__(self, view: memoryview) -> None:
        self.memory, self.at = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self.at, len(self.memory))[whence]
        if base + offset < 0:
            raise ValueError("negative seek")
        self.at = base + offset
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, to: Any) -> int:
        found = self.memory[self.at : self.at + len(to)]
        to[: len(found)] = found
        self.at += len(found)
        return len(found)

    def read(self, size: int = -1) -> bytes:
        end = len(self.memory) if size is None or size < 0 else self.at + size
        found = bytes(self.memory[self.at : end])
        self.at += len(found)
        return found


def image_of(view: memoryview) -> Any:
    """The image, decoded."""
    from PIL import Image

    try:
        image = Image.open(ViewFile(view))
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # of a hostile image, which can be any
        raise Unfit(f"is not an image that Pillow can read: {error}") from None
    return image


def is_image(value: Any) -> bool:
    image: Any = sys.modules.get("PIL.Image")
    return image is not None and isinstance(value, image.Image)


def image_bytes(image: Any, media_type: Optional[str]) -> tuple[str, Any]:
    """(media type, bytes) of an image: in the wanted format, or its own, or PNG."""
    from PIL import Image

    Image.init()
    name = image.format or "PNG"
    if media_type is not None:
        name = next((known for known, mime in Image.MIME.items() if mime == media_type and known in Image.SAVE), None)
        if name is None:
            raise NoJson(f"the result is an image, which Pillow cannot write as {media_type}")
    elif name not in Image.SAVE or name not in Image.MIME:
        name = "PNG"
    to = io.BytesIO()
    try:
        image.save(to, name, **({"save_all": True} if getattr(image, "is_animated", False) else {}))
    except (OSError, ValueError, KeyError) as error:
        raise NoJson(f"the result is an image that Pillow cannot write as {name}: {error}") from None
    return media_type or Image.MIME[name], to.getbuffer()


# ---- results ---------------------------------------------------------------------------------------------------------


class Binary:
    """A result that is not JSON: in `data`, or in a memfd of that many bytes. What the task has may change meanwhile, so
    it is copied here, once."""

    __slots__ = ("media_type", "data", "fd", "size")

    def __init__(self, media_type: str, parts: list[Any]) -> None:
        self.media_type = media_type
        self.size = sum(memoryview(part).nbytes for part in parts)
        self.data, self.fd = b"", -1
        if self.size <= LARGE:
            self.data = parts[0] if len(parts) == 1 and type(parts[0]) is bytes else b"".join(parts)
            return
        self.fd = os.memfd_create("offload-result", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            for part in parts:
                left = memoryview(part).cast("B")
                while left.nbytes:
                    left = left[os.write(self.fd, left) :]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        self.close()


def to_binary(value: Any, media_type: Optional[str] = None, what: str = "the result") -> Optional[Binary]:
    """The value, if it is bytes, an array or an image by itself; None: it is not. Raises NoJson and MemoryError."""
    parts = parts_of(value, media_type, what)
    if parts is None:
        return None
    try:
        return Binary(*parts)
    except OSError as error:
        raise MemoryError(f"there is no memory for {what}: {error}") from None


def parts_of(value: Any, media_type: Optional[str], what: str) -> Optional[tuple[str, list[Any]]]:
    """(media type, buffers whose bytes follow each other); None: the value is not binary."""
    if isinstance(value, (bytes, bytearray)):
        return media_type or OCTETS, [value]
    if isinstance(value, memoryview):
        return media_type or OCTETS, [value.cast("B") if value.c_contiguous else value.tobytes()]
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return media_type or NPY, npy_parts(value, what)
    if is_image(value):
        kind, data = image_bytes(value, media_type)
        return kind, [data]
    return None
