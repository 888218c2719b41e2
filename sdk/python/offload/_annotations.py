"""Annotations: the JSON Schema of one, and the function that makes its value from JSON.

A Shape is both. `read` takes what json.loads gives, and returns the value for the task, or raises Unfit. It is the one
authority on what is valid: the schema tells clients the same, and the host checks the part that it understands.
"""

from __future__ import annotations

import base64
import binascii
import collections
import collections.abc
import dataclasses
import enum
import inspect
import math
import re
import sys
import types
import typing
from typing import Any, Callable, Optional, Union

from ._binary import NPY_MAGIC, Attachment, array_of, image_of
from ._errors import InvalidParams, LoadError, Unfit
from ._values import EXACT, to_json

Read = Callable[[Any], Any]
Schema = dict[str, Any]

MAX_DIGITS = 4096  # of an integer, as for the types that are built in
DIGITS = re.compile(r"-?[0-9]+\Z", re.ASCII)
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
NOUNS = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array", dict: "an object"}


def noun(value: Any) -> str:
    return NOUNS.get(type(value), "null")


def kind(value: Any) -> str:
    return KINDS.get(type(value), "null")


class Shape:
    """`kinds`: the kinds of JSON values that are its own, for unions. `inline`: an expression that is true if the
    variable VALUE is right as it is. It may only be true where `read` returns the same value."""

    def __init__(self, schema: Schema, read: Read, kinds: str, inline: str = "") -> None:
        self.schema = schema
        self.read = read
        self.kinds = kinds.split()
        self.inline = inline


# ---- scalars ---------------------------------------------------------------------------------------------------------


def read_any(value: Any) -> Any:
    return value


def read_null(value: Any) -> None:
    if value is not None:
        raise Unfit(f"must be null, not {noun(value)}")


def read_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise Unfit(f"must be true or false, not {noun(value)}")
    return value


def read_int(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is str:
        if not DIGITS.match(value):
            raise Unfit("must be an integer: as a string, decimal digits only")
        if len(value.lstrip("-0")) > MAX_DIGITS:
            raise Unfit(f"has more than {MAX_DIGITS} digits")
        return int(value)
    if type(value) is float:  # 1e3 and 10.0 are integers
        if -EXACT <= value <= EXACT and value.is_integer():
            return int(value)
        if not -EXACT <= value <= EXACT:
            raise Unfit("must be an integer: one beyond 2^53 has to be written in digits")
        raise Unfit("must be an integer, without a fraction")
    raise Unfit(f"must be an integer, not {noun(value)}")


def read_float(value: Any) -> float:
    if type(value) is float:
        if value - value == 0:
            return value
        raise Unfit("is beyond the range of a 64-bit floating-point number")
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise Unfit("is beyond the range of a 64-bit floating-point number") from None
    if type(value) is str:
        if value in NOT_FINITE:
            return NOT_FINITE[value]
        raise Unfit('must be a number: of the strings only "NaN", "Infinity" and "-Infinity" are')
    raise Unfit(f"must be a number, not {noun(value)}")


def read_str(value: Any) -> str:
    if type(value) is not str:
        raise Unfit(f"must be a string, not {noun(value)}")
    return value


def read_bytes(value: Any) -> bytes:
    if type(value) is Attachment:
        return bytes(value.view())
    if type(value) is not str:
        raise Unfit(f"must be a string in base64, not {noun(value)}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unfit(f"is not base64: {error}") from None


def read_bytearray(value: Any) -> bytearray:
    return bytearray(read_view(value))


def read_view(value: Any) -> memoryview:
    """Read-only, unless it is an attachment that may be written to."""
    return value.view() if type(value) is Attachment else memoryview(read_bytes(value))


def float_schema() -> Schema:
    return {"anyOf": [{"type": "number"}, {"enum": list(NOT_FINITE)}]}


def scalar(annotation: Any) -> Optional[Shape]:
    if annotation in (Any, object, inspect.Parameter.empty):
        return Shape({}, read_any, "null boolean integer number string array object", "True")
    if annotation is None or annotation is type(None):
        return Shape({"type": "null"}, read_null, "null", "VALUE is None")
    if annotation is bool:
        return Shape({"type": "boolean"}, read_bool, "boolean", "type(VALUE) is bool")
    if annotation is int:
        return Shape({"type": "integer"}, read_int, "integer", "type(VALUE) is int")
    if annotation is float:
        return Shape(float_schema(), read_float, "number", "type(VALUE) is float and VALUE - VALUE == 0")
    if annotation is str:
        return Shape({"type": "string"}, read_str, "string", "type(VALUE) is str")
    if annotation is bytes:
        return Shape({"type": "string", "contentEncoding": "base64"}, read_bytes, "string")
    if annotation is bytearray:
        return Shape({"type": "string", "contentEncoding": "base64"}, read_bytearray, "string")
    if annotation is memoryview:
        return Shape({"type": "string", "contentEncoding": "base64"}, read_view, "string")
    return None


# ---- numpy, which is not imported here: whoever names it in an annotation has done that ------------------------------


def read_npy(value: Any) -> Any:
    return array_of(read_view(value))


def array_shape(dtype: Any) -> Shape:
    schema = {"type": "string", "contentEncoding": "base64", "contentMediaType": "application/x-npy"}
    if not isinstance(dtype, type):
        return Shape(schema, read_npy, "string")
    wanted: Any = dtype

    def read(value: Any) -> Any:
        view = read_view(value)
        if wanted.__name__ == "uint8" and bytes(view[:6]) != NPY_MAGIC:
            import numpy

            return numpy.frombuffer(view, numpy.uint8)  # raw bytes
        array = array_of(view)
        if not issubclass(array.dtype.type, wanted):
            raise Unfit(f"must be an array of {wanted.__name__}, not of {array.dtype}")
        return array

    return Shape(schema, read, "string")


def number_of(kind_of_number: Any, base: Shape) -> Shape:
    try:
        kind_of_number(0)
    except TypeError:  # numpy.integer and the like are no types of values
        return base

    def read(value: Any) -> Any:
        plain = base.read(value)
        try:
            number = kind_of_number(plain)
        except OverflowError:
            number = None
        if number is None or (type(plain) is int and number != plain):
            raise Unfit(f"is beyond the range of {kind_of_number.__name__}")
        return number

    return Shape(base.schema, read, " ".join(base.kinds))


def from_numpy(annotation: Any, origin: Any) -> Optional[Shape]:
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return None
    if annotation is numpy.ndarray:
        return array_shape(None)
    if origin is numpy.ndarray:  # numpy.typing.NDArray[numpy.float64] is ndarray[Any, dtype[float64]]
        dtypes = typing.get_args(annotation)[1:]
        inner = typing.get_args(dtypes[0])[:1] if dtypes else ()
        return array_shape(inner[0] if inner else None)
    if isinstance(annotation, type) and issubclass(annotation, numpy.generic):
        if issubclass(annotation, numpy.bool_):
            return number_of(annotation, known(scalar(bool)))
        if issubclass(annotation, numpy.integer):
            return number_of(annotation, known(scalar(int)))
        if issubclass(annotation, numpy.floating):
            return number_of(annotation, known(scalar(float)))
    return None


def from_pillow(annotation: Any) -> Optional[Shape]:
    image: Any = sys.modules.get("PIL.Image")
    if image is None or annotation is not image.Image:
        return None
    schema = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}
    return Shape(schema, lambda value: image_of(read_view(value)), "string")


def known(shape: Optional[Shape]) -> Shape:
    assert shape is not None
    return shape


# ---- choices ---------------------------------------------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    """JSON values: true is not 1, but 1.0 is."""
    return bool(a == b) and (type(a) is bool) == (type(b) is bool)


def choice_schema(values: list[Any]) -> Schema:
    return {"type": "string", "enum": values} if all(type(v) is str for v in values) else {"enum": values}


def choice_list(values: list[Any]) -> str:
    words = ["null" if v is None else str(v).lower() if type(v) is bool else str(v) for v in values]
    return ", ".join(words)


def choices(pairs: list[tuple[Any, Any]]) -> Shape:
    """Of pairs (JSON value, value for the task)."""
    values = [plain for plain, _ in pairs]

    def read(value: Any) -> Any:
        for plain, result in pairs:
            if same(plain, value):
                return result
        raise Unfit(f"must be one of {choice_list(values)}")

    strings = all(type(plain) is str and plain is result for plain, result in pairs)
    words = repr(tuple(values))
    inline = f"type(VALUE) is str and VALUE in {words}" if strings and "VALUE" not in words else ""
    return Shape(choice_schema(values), read, " ".join({kind(v) for v in values}), inline)


def literal(annotation: Any) -> Shape:
    values: list[Any] = []
    for value in typing.get_args(annotation):
        if isinstance(value, enum.Enum) or type(value) not in (str, int, bool, type(None)):
            raise Unknown("in a Literal only strings, integers, booleans and None are supported", annotation)
        values.append(value)
    return choices([(v, v) for v in values])


def enumeration(annotation: Any) -> Shape:
    if issubclass(annotation, enum.Flag):
        raise Unknown("flags are not supported", annotation)
    pairs = []
    for member in annotation:
        value = member.value
        if isinstance(value, (str, int)) and type(value) not in (str, int, bool):  # class Colour(str, Enum)
            value = str.__str__(value) if isinstance(value, str) else int(value)
        if type(value) not in (str, int, float, bool, type(None)) or (type(value) is float and value - value != 0):
            raise Unknown(f"the value of {annotation.__name__}.{member.name} is no string or number", annotation)
        pairs.append((value, member))
    if not pairs:
        raise Unknown("the enumeration has no members", annotation)
    return choices(pairs)


# ---- collections -----------------------------------------------------------------------------------------------------


def items_of(value: Any, read: Read) -> list[Any]:
    if type(value) is not list:
        raise Unfit(f"must be an array, not {noun(value)}")
    result: list[Any] = []
    try:
        for item in value:
            result.append(read(item))
    except Unfit as unfit:
        raise unfit.within(len(result)) from None
    return result


def array(item: Shape, make: Optional[Callable[[list[Any]], Any]]) -> Shape:
    """A list, or what `make` makes of one. Long lists of one plain type are looked at by set() alone."""
    read_item = item.read
    plain: dict[Any, set[type]] = {read_int: {int}, read_str: {str}, read_bool: {bool}, read_float: {float}}
    kinds = plain.get(read_item)

    def fits(value: list[Any]) -> bool:
        if kinds is None or set(map(type, value)) != kinds:
            return read_item is read_any
        return read_item is not read_float or all(map(math.isfinite, value))

    def read(value: Any) -> Any:
        items = value if type(value) is list and fits(value) else items_of(value, read_item)
        return items if make is None else make(items)

    schema = {"type": "array", "items": item.schema} if item.schema else {"type": "array"}
    return Shape(schema, read, "array")


def make_set(kind_of_set: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def make(items: list[Any]) -> Any:
        for i, item in enumerate(items):
            try:
                hash(item)
            except TypeError:
                raise Unfit(f"cannot be in a set: {noun(item)}").within(i) from None
        return kind_of_set(items)

    return make


def fixed_tuple(shapes: list[Shape], make: Callable[[list[Any]], Any], required: int) -> Shape:
    size = len(shapes)
    words = f"{size}" if required == size else f"{required} to {size}"

    def read(value: Any) -> Any:
        if type(value) is not list:
            raise Unfit(f"must be an array, not {noun(value)}")
        if not required <= len(value) <= size:
            raise Unfit(f"must have {words} elements, not {len(value)}")
        result = []
        for i, item in enumerate(value):
            try:
                result.append(shapes[i].read(item))
            except Unfit as unfit:
                raise unfit.within(i) from None
        return make(result)

    schema: Schema = {"type": "array", "minItems": required, "maxItems": size}
    if shapes:
        schema["prefixItems"] = [shape.schema for shape in shapes]
    return Shape(schema, read, "array")


def mapping(item: Shape) -> Shape:
    read_item = item.read

    def read(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise Unfit(f"must be an object, not {noun(value)}")
        if read_item is read_any:
            return value
        result = {}
        for name, member in value.items():
            try:
                result[name] = read_item(member)
            except Unfit as unfit:
                raise unfit.within(name) from None
        return result

    schema = {"type": "object", "additionalProperties": item.schema} if item.schema else {"type": "object"}
    return Shape(schema, read, "object")


# ---- unions ----------------------------------------------------------------------------------------------------------


def union(shapes: list[Shape]) -> Shape:
    """A value goes to the members of its own kind first, in their order, and then to the others: of int and str "5" is
    a str, of float and str 5 is a float."""
    if len(shapes) == 1:
        return shapes[0]
    first: dict[str, list[Shape]] = {}
    for name in [*KINDS.values(), "null"]:
        own = [s for s in shapes if name in s.kinds]
        first[name] = own + [s for s in shapes if s not in own]

    def read(value: Any) -> Any:
        name = kind(value)
        faults: list[Unfit] = []
        for shape in first[name]:
            try:
                return shape.read(value)
            except Unfit as unfit:
                faults.append(unfit)
        own = [fault for fault, shape in zip(faults, first[name]) if name in shape.kinds]
        deep = [fault for fault in own if fault.place]
        others = [s for s in shapes if s.kinds != ["null"]]
        if deep:
            raise deep[0]
        if len(own) == 1:
            raise own[0]
        if len(others) == 1:  # Optional
            raise next(fault for fault, shape in zip(faults, first[name]) if shape is others[0])
        raise Unfit("; or ".join(dict.fromkeys(fault.why for fault in faults)))

    kinds = " ".join(dict.fromkeys(name for shape in shapes for name in shape.kinds))
    # As it is, if a member takes it as it is and no member of its kind comes before that one: each kind has one member.
    plain = all(s.inline for s in shapes) and len(kinds.split()) == sum(len(s.kinds) for s in shapes)
    inline = " or ".join(f"({shape.inline})" for shape in shapes) if plain else ""
    return Shape({"anyOf": [shape.schema for shape in shapes]}, read, kinds, inline)


# ---- objects ---------------------------------------------------------------------------------------------------------


class Member:
    """A member of an object, or a parameter. `default` is for the schema; what is missing is left to Python."""

    def __init__(self, name: str, shape: Shape, required: bool, default: Any = inspect.Parameter.empty) -> None:
        self.name = name
        self.shape = shape
        self.required = required
        self.default = default
        self.description = ""

    def schema(self) -> Schema:
        schema = dict(self.shape.schema)
        if self.description:
            schema["description"] = self.description
        if self.default is not inspect.Parameter.empty:
            try:
                schema["default"] = to_json(self.default)
            except Exception:  # the function has it all the same
                pass
        return schema


def object_schema(members: list[Member], more: Any = False) -> Schema:
    schema: Schema = {"type": "object", "properties": {member.name: member.schema() for member in members}}
    required = [member.name for member in members if member.required]
    if required:
        schema["required"] = required
    schema["additionalProperties"] = more
    return schema


def read_members(members: list[Member], noun_of_object: str, more: Optional[Shape] = None) -> Callable[[Any], Any]:
    """The function that reads an object into the arguments by name. `more`: of members that have no parameter."""
    readers = {member.name: member.shape.read for member in members}
    required = [member.name for member in members if member.required]

    def read(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise Unfit(f"must be an object, not {noun(value)}")
        result = {}
        for name, member in value.items():
            reader = readers.get(name)
            if reader is None:
                if more is None:
                    names = "it has " + ", ".join(readers) if readers else "it has none"
                    raise Unfit(f'"{name:.60}" is not a {noun_of_object}; {names}').within(name)
                reader = more.read
            try:
                result[name] = reader(member)
            except Unfit as unfit:
                raise unfit.within(name) from None
        for name in required:
            if name not in result:
                raise Unfit(f"{name} is required")
        return result

    return read


class Unknown(Exception):
    """An annotation that is not supported."""

    def __init__(self, why: str, annotation: Any) -> None:
        super().__init__(why)
        self.annotation = annotation


def show(annotation: Any) -> str:
    if isinstance(annotation, str):
        return repr(annotation)
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__qualname__ if annotation.__module__ == "builtins" else (
            f"{annotation.__module__}.{annotation.__qualname__}"
        )
    return str(annotation)


LISTS: tuple[Any, ...] = (list, collections.abc.Sequence, collections.abc.MutableSequence)
LISTS += (collections.abc.Iterable, collections.abc.Collection)
SETS = {set: set, frozenset: frozenset, collections.abc.Set: frozenset, collections.abc.MutableSet: set}
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Shapes:
    """Makes the shapes of one task. A class that contains itself becomes a $ref into `definitions`."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self.open: dict[Any, list[Shape]] = {}  # the classes that are being made, and the references to each

    def of(self, annotation: Any) -> Shape:
        origin = typing.get_origin(annotation)
        arguments = typing.get_args(annotation)
        if origin is typing.Annotated:
            return self.annotated(annotation)
        if hasattr(annotation, "__supertype__"):  # NewType
            return self.of(annotation.__supertype__)
        if type(annotation).__name__ == "TypeAliasType":  # type Name = ...
            return self.of(annotation.__value__)
        if isinstance(annotation, typing.TypeVar):
            return self.of(annotation.__bound__ or Any)
        if marker_of(annotation) in ("Required", "NotRequired", "ReadOnly"):
            return self.of(arguments[0])
        if origin is Union or (sys.version_info >= (3, 10) and origin is types.UnionType):
            return union([self.of(argument) for argument in arguments])
        if origin is typing.Literal:
            return literal(annotation)
        try:
            found = scalar(annotation) or from_numpy(annotation, origin) or from_pillow(annotation)
            found = found or self.collection(annotation, origin, arguments)
        except TypeError:  # an annotation that cannot be compared, or hashed
            found = None
        if found is None and isinstance(annotation, type):
            found = self.of_class(annotation)
        if found is None:
            raise Unknown("", annotation)
        return found

    def annotated(self, annotation: Any) -> Shape:
        """Annotated[int, "how many"]: the first string is the description."""
        shape = self.of(annotation.__origin__)
        words = [word for word in annotation.__metadata__ if isinstance(word, str)]
        if not words:
            return shape
        return Shape({**shape.schema, "description": words[0]}, shape.read, " ".join(shape.kinds), shape.inline)

    def collection(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Optional[Shape]:
        base = annotation if origin is None else origin
        if not isinstance(base, type):
            return None
        if base is tuple:
            if not arguments and origin is None:
                return array(self.of(Any), tuple)
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return array(self.of(arguments[0]), tuple)
            shapes = [self.of(argument) for argument in arguments if argument != ()]  # 3.9: tuple[()] has one, ()
            return fixed_tuple(shapes, tuple, len(shapes))
        first = self.of(arguments[0]) if arguments else self.of(Any)
        if base in LISTS:
            return array(first, None)
        if base in SETS:
            return array(first, make_set(SETS[base]))
        if base is collections.deque:
            return array(first, collections.deque)
        if base in MAPPINGS:
            if arguments and arguments[0] not in (str, Any):
                raise Unknown("the keys of a dict can only be str, as in JSON", annotation)
            return mapping(self.of(arguments[1]) if arguments else self.of(Any))
        return None

    def of_class(self, annotation: Any) -> Optional[Shape]:
        if issubclass(annotation, enum.Enum):
            return enumeration(annotation)
        if dataclasses.is_dataclass(annotation):
            return self.once(annotation, self.dataclass)
        if issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
            return self.once(annotation, self.named_tuple)
        if issubclass(annotation, dict) and hasattr(annotation, "__total__"):
            return self.once(annotation, self.typed_dict)
        return None

    def once(self, annotation: Any, make: Callable[[Any], Shape]) -> Shape:
        if annotation in self.open:
            reference = Shape({"$ref": f"#/$defs/{annotation.__name__}"}, read_any, "array object")
            reference.read = lambda value: target[0].read(value)
            target = self.open[annotation]
            target.append(reference)
            return reference
        references = self.open[annotation] = []
        try:
            shape = make(annotation)
        finally:
            del self.open[annotation]
        if references:
            references.insert(0, shape)
            name = annotation.__name__
            if self.definitions.setdefault(name, shape.schema) != shape.schema:
                raise Unknown(f"there are two classes {name} that contain themselves", annotation)
            shape = Shape({"$ref": f"#/$defs/{name}"}, shape.read, " ".join(shape.kinds))
        return shape

    def hints(self, annotation: Any) -> dict[str, Any]:
        try:
            return typing.get_type_hints(annotation, include_extras=True)
        except Exception as error:
            raise Unknown(f"{type(error).__name__}: {error}", annotation) from None

    def dataclass(self, annotation: Any) -> Shape:
        hints = self.hints(annotation)
        members = []
        for field in dataclasses.fields(annotation):
            if not field.init:
                continue
            default: Any = inspect.Parameter.empty
            if field.default is not dataclasses.MISSING:
                default = field.default
            optional = default is not inspect.Parameter.empty or field.default_factory is not dataclasses.MISSING
            shape = with_default(self.of(hints[field.name]), default)
            members.append(Member(field.name, shape, not optional, default))
        for name, hint in hints.items():
            if isinstance(hint, dataclasses.InitVar):
                raise Unknown(f"{annotation.__name__}.{name} is an InitVar, which is not supported", annotation)
        arguments = read_members(members, f"member of {annotation.__name__}")

        def read(value: Any) -> Any:
            given = arguments(value)
            try:
                return annotation(**given)
            except InvalidParams as error:  # of __post_init__
                raise placed(error) from error
            except (ValueError, TypeError) as error:
                raise Unfit(str(error) or type(error).__name__) from error

        return Shape({"title": annotation.__name__, **object_schema(members)}, read, "object")

    def named_tuple(self, annotation: Any) -> Shape:
        hints = self.hints(annotation)
        defaults = getattr(annotation, "_field_defaults", {})
        shapes = [with_default(self.of(hints.get(name, Any)), defaults.get(name, inspect.Parameter.empty))
                  for name in annotation._fields]
        shape = fixed_tuple(shapes, lambda items: annotation(*items), len(shapes) - len(defaults))
        shape.schema["title"] = annotation.__name__
        return shape

    def typed_dict(self, annotation: Any) -> Shape:
        members = []
        for name, hint in self.hints(annotation).items():
            required = name in annotation.__required_keys__
            marker = marker_of(hint)  # string annotations hide it from the class
            required = True if marker == "Required" else False if marker == "NotRequired" else required
            members.append(Member(name, self.of(hint), required))
        read = read_members(members, f"member of {annotation.__name__}")
        return Shape({"title": annotation.__name__, **object_schema(members)}, read, "object")


def marker_of(annotation: Any) -> str:
    """The name of what typing, or typing_extensions, has put around a type: NotRequired[int]."""
    origin = typing.get_origin(annotation)
    return str(getattr(origin, "__name__", "") or getattr(origin, "_name", ""))


def placed(error: InvalidParams) -> Unfit:
    """The same with the place as a list."""
    unfit = Unfit(error.why)
    unfit.place = error.pointer.split("/")[:0:-1]
    return unfit


def with_default(shape: Shape, default: Any) -> Shape:
    """A parameter whose default is None takes null, whatever its annotation says."""
    if default is not None or "null" in shape.kinds:
        return shape
    return union([shape, known(scalar(None))])


# ---- the parameters of a function ------------------------------------------------------------------------------------


class Signature:
    """The parameters of a task."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.keyword_only: set[str] = set()
        self.more: Optional[Shape] = None  # of **kwargs
        self.definitions: dict[str, Schema] = {}

    def schema(self) -> Schema:
        schema = object_schema(self.members, self.more is not None)
        if self.definitions:
            schema["$defs"] = self.definitions
        return schema


def resolve(annotation: Any, function: Any) -> Any:
    """The annotation, if it is written as a string, too."""
    holder = types.SimpleNamespace()
    holder.__annotations__ = {"it": annotation}
    names = getattr(inspect.unwrap(function), "__globals__", {})
    return typing.get_type_hints(holder, names, include_extras=True)["it"]


def complain(what: str, annotation: Any, error: Exception) -> LoadError:
    shown = f"the annotation {show(annotation)}"
    if isinstance(error, Unknown):
        inner = show(error.annotation)
        within = "" if error.annotation is annotation or inner == show(annotation) else f" (in it: {inner})"
        why = f": {error}" if str(error) else ""
        return LoadError(f"{what}: {shown} is not supported{within}{why}")
    return LoadError(f"{what}: {shown} has no meaning: {type(error).__name__}: {error}")


def signature_of(function: Any, name: str, descriptions: dict[str, str]) -> Signature:
    """Of a function that is called `name` in messages."""
    result = Signature()
    shapes = Shapes()
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise LoadError(f"{name} has no signature that Python can show: {error}") from None
    for parameter in parameters:
        what = f"{name}({parameter.name})"
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise LoadError(f"{what}: the parameter is positional-only (before /), but parameters of jobs have names")
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise LoadError(f"{what}: *{parameter.name} is not supported, as parameters of jobs have names: use a list")
        annotation = parameter.annotation
        try:
            if annotation is not parameter.empty:
                annotation = resolve(annotation, function)
            shape = with_default(shapes.of(annotation), parameter.default)
        except RecursionError:
            raise LoadError(f"{what}: the annotation {show(annotation)} contains itself") from None
        except Exception as error:
            raise complain(what, annotation, error) from None
        if parameter.kind is parameter.VAR_KEYWORD:
            result.more = shape
            continue
        member = Member(parameter.name, shape, parameter.default is parameter.empty, parameter.default)
        member.description = descriptions.get(parameter.name, "")
        result.members.append(member)
        if parameter.kind is parameter.KEYWORD_ONLY:
            result.keyword_only.add(parameter.name)
    result.definitions = shapes.definitions
    return result


def shape_of_result(function: Any) -> Optional[Shape]:
    """That of the return annotation: what `merge` gets is read with it. None: it says nothing that we understand."""
    try:
        annotation = inspect.signature(function).return_annotation
        if annotation is inspect.Signature.empty:
            return None
        return Shapes().of(resolve(annotation, function))
    except Exception:
        return None
