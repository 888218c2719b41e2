"""Results, and the parameters that clients send: Python values as JSON, by the rules of the API. Integers beyond
+-(2^53-1) are strings, and so are NaN and the infinities; tuples and sets are arrays; bytes are base64.

What `to_json` returns shares no list and no dict with what it was given: results are sent a little later, and the task
may change its own objects meanwhile.
"""

from __future__ import annotations

import base64
import collections
import collections.abc
import dataclasses
import enum
import importlib
import io
import json
import math
import sys
from typing import Any, Callable

from ._errors import NoJson, escape

EXACT = 2**53 - 1
"""Up to here integers are numbers in JSON."""

PLAIN = {bool, str, type(None)}


class Misfit(Exception):
    """Somewhere in a result is what JSON cannot hold. The place is collected on the way up."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.place: list[str] = []


def as_it_is(value: Any) -> Any:
    return value


def of_int(value: int) -> Any:
    return value if -EXACT <= value <= EXACT else str(value)


def of_float(value: float) -> Any:
    if value - value == 0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def of_list(value: Any) -> list[Any]:
    items = list(value)
    kinds = set(map(type, items))
    if (
        kinds <= PLAIN
        or (kinds == {int} and -EXACT <= min(items) and max(items) <= EXACT)
        or (kinds == {float} and all(map(math.isfinite, items)))
    ):
        return items
    try:
        for i, item in enumerate(items):
            items[i] = inner(item)
    except Misfit as misfit:
        misfit.place.append(str(i))
        raise
    return items


def of_set(value: Any) -> list[Any]:
    """In order if it has one, so that the same set is the same JSON."""
    try:
        return of_list(sorted(value))
    except TypeError:
        return of_list(value)


def key_of(key: Any) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        if "\0" in key:
            raise Misfit("it has a NUL character in a key")
        return str.__str__(key)
    if isinstance(key, int) and not isinstance(key, bool):
        return str(int(key))
    raise Misfit(f"it has a key of the type {name_of(type(key))}")


def of_dict(value: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = key_of(key)
        if name in result:
            raise Misfit(f"it has two keys that are {name!r} in JSON")
        try:
            result[name] = inner(item)
        except Misfit as misfit:
            misfit.place.append(escape(name))
            raise
    return result


def of_bytes(value: Any) -> str:
    return base64.b64encode(value).decode("ascii")


def of_dataclass(value: Any) -> dict[str, Any]:
    return of_dict({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})


def name_of(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


EXACTLY: dict[type, Callable[[Any], Any]] = {
    type(None): as_it_is,
    bool: as_it_is,
    str: as_it_is,
    int: of_int,
    float: of_float,
    list: of_list,
    tuple: of_list,
    set: of_set,
    frozenset: of_set,
    dict: of_dict,
    bytes: of_bytes,
    bytearray: of_bytes,
    memoryview: of_bytes,
}


def inner(value: Any) -> Any:
    """A value anywhere within a result."""
    convert = EXACTLY.get(type(value))
    return convert(value) if convert else of_other(value)


def of_other(value: Any) -> Any:
    """Subclasses, and types that are alike."""
    if isinstance(value, enum.Enum):
        return inner(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return of_dataclass(value)
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        item = value.item()
        if isinstance(item, numpy.generic):  # longdouble
            return of_float(float(item)) if isinstance(item, numpy.floating) else refuse(value)
        return inner(item) if type(item) in EXACTLY else refuse(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return of_int(int(value))
    if isinstance(value, float):
        return of_float(float(value))
    if isinstance(value, (bytes, bytearray)):
        return of_bytes(value)
    if isinstance(value, collections.abc.Mapping):
        return of_dict(value)
    if isinstance(value, collections.abc.Set):
        return of_set(value)
    if isinstance(value, (collections.abc.Sequence, collections.abc.Iterator, collections.abc.ValuesView)):
        return of_list(value)
    if type(value).__module__ == "array" and hasattr(value, "tolist"):
        return of_list(value.tolist())
    return refuse(value)


def refuse(value: Any) -> Any:
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        raise Misfit("it has a numpy.ndarray inside: an array is sent as .npy only if it is alone; use .tolist()")
    raise Misfit(f"it is of the type {name_of(type(value))}")


def npy(array: Any, what: str) -> str:
    import numpy

    to = io.BytesIO()
    try:
        numpy.save(to, array, allow_pickle=False)
    except ValueError as error:
        raise NoJson(f"{what} is an array that cannot be sent as .npy: {error}") from None
    return of_bytes(to.getbuffer())


def to_json(value: Any, what: str = "the result") -> Any:
    """A whole result, or a parameter: None, bool, str, int, float, list and dict, and nothing else. Raises NoJson; its
    text says `what` the value is."""
    convert = EXACTLY.get(type(value))
    try:
        if convert:
            return convert(value)
        numpy: Any = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.ndarray):
            return npy(value, what)
        return of_other(value)
    except Misfit as misfit:
        why, place = misfit.why, "".join("/" + part for part in reversed(misfit.place))
    except RecursionError:
        raise NoJson(f"JSON cannot hold {what}: it is nested too deeply, or it contains itself") from None
    except RuntimeError as error:  # changed by another thread
        if "changed size during iteration" not in str(error):
            raise
        raise NoJson(f"{what} changed while it was sent: {error}") from None
    raise NoJson(f"JSON cannot hold {what}: {'at ' + place + ' ' if place else ''}{why}")


# ---- text ------------------------------------------------------------------------------------------------------------


def _encoder() -> Callable[[Any], str]:
    """json.dumps without what it does anew each time."""
    plain = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))
    try:
        from json import encoder

        make: Any = encoder.c_make_encoder  # type: ignore[attr-defined]
        cached = make(None, plain.default, encoder.encode_basestring, None, ":", ",", False, False, False)
        if "".join(cached([{"a": "\n"}, 1.5], 0)) != '[{"a":"\\n"},1.5]':
            return plain.encode
    except Exception:  # another Python than those that we know
        return plain.encode
    join = "".join
    return lambda value: join(cached(value, 0))


_text = _encoder()


def encode_plain(value: Any) -> bytes:
    return _text(value).encode()


encode: Callable[[Any], bytes] = encode_plain
"""What to_json returned, as JSON in UTF-8. Raises a ValueError or a TypeError if a string has a lone surrogate. orjson
is several times as fast for long results; it also refuses what is nested deeper than some hundred levels."""
try:
    encode = importlib.import_module("orjson").dumps
except ImportError:
    pass
