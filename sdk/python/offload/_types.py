"""A job type: how the function of a task is called, and what the host is told of it."""

from __future__ import annotations

import inspect
import itertools
import re
import types
from typing import Any, Callable, Optional

from ._annotations import Shape, Signature, read_bytes, read_members, shape_of_result, signature_of
from ._binary import Attachment, is_binary, to_binary
from ._errors import LoadError, NoJson, Unfit
from ._tasks import NAME, NAME_RULE, Definition
from ._trace import GENERATED, boundary
from ._values import EXACT, to_json

MAX_CHUNKS = 4096


# ---- the docstring ---------------------------------------------------------------------------------------------------


def described(function: Any) -> tuple[str, dict[str, str]]:
    """The first line, and {parameter: help} from the lines below "Args:"."""
    has_own = isinstance(function, (types.FunctionType, types.BuiltinFunctionType, types.MethodType))
    text = inspect.getdoc(function) if has_own else None
    lines = (text or "").expandtabs().splitlines()
    found: dict[str, str] = {}
    current, indent = "", -1
    inside = False
    for line in lines[1:]:
        depth = len(line) - len(line.lstrip())
        if re.match(r"\s*(Args|Arguments|Parameters):\s*$", line):
            inside, indent, section = True, -1, depth
            continue
        if not inside or not line.strip():
            continue
        if depth <= section:
            inside = False
            continue
        if indent < 0:
            indent = depth
        entry = re.match(r"\s*\**([^\W\d]\w*)\s*(?:\([^)]*\))?\s*:\s*(.*)", line)
        if depth == indent and entry:
            current = entry[1]
            found[current] = entry[2].strip()
        elif current:
            found[current] = f"{found[current]} {line.strip()}".strip()
    return (lines[0].strip() if lines else ""), found


# ---- the call --------------------------------------------------------------------------------------------------------


def callable_of(function: Any) -> Callable[..., Any]:
    """The function as one that returns its result. Every call has a frame that is not ours, which is where a Cancelled
    can be raised: what is written in C gets one here."""
    if inspect.iscoroutinefunction(function):
        return boundary("def call(*args, **kwargs): return run(function(*args, **kwargs))", function, run=runner())
    if inspect.isasyncgenfunction(function):
        source = """async def gather(*args, **kwargs): return [item async for item in function(*args, **kwargs)]
def call(*args, **kwargs): return run(gather(*args, **kwargs))"""
        return boundary(source, function, run=runner())
    if inspect.isgeneratorfunction(function):
        return boundary("def call(*args, **kwargs): return list(function(*args, **kwargs))", function)
    if isinstance(function, types.FunctionType):
        return function
    return boundary("def call(*args, **kwargs): return function(*args, **kwargs)", function)


def runner() -> Any:
    """asyncio.run. The module takes some time to load, so it is left out where nobody needs it."""
    import asyncio

    return asyncio.run


def to_result(media_type: Optional[str]) -> Callable[[Any], Any]:
    """The function that makes a value of a task what is sent: JSON, or Binary."""

    def convert(value: Any) -> Any:
        binary = to_binary(value, media_type)
        return to_json(value) if binary is None else binary

    return convert


def compile_call(
    function: Callable[..., Any], signature: Signature, arguments: Any, convert: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    """The function that makes params (as JSON) into a result (as JSON). `arguments` reads them the general way.

    It is generated, so that the usual call takes no loop: each parameter is looked at, in one expression. Whatever that
    expression does not take goes the general way, which decides. So both give the same results and the same errors.
    """
    names: dict[str, Any] = {"function": function, "arguments": arguments, "to_result": convert, "Unfit": Unfit}
    needed, optional, passed, fine = [], [], [], []
    for i, member in enumerate(signature.members):
        it, read = f"p{i}", f"read{i}"
        names[read] = member.shape.read
        takes = [f"{it} = params[{member.name!r}]"]
        if not member.shape.inline:
            takes = [f"{it} = {read}(params[{member.name!r}])"]
        elif member.shape.schema.get("anyOf") and member.shape.kinds == ["number"]:
            takes.append(f"if type({it}) is int: {it} = float({it})")
        check = member.shape.inline.replace("VALUE", it)
        check = "" if check == "True" else check
        if member.required:
            needed += takes
            if check:
                fine.append(check)
        else:
            names[f"default{i}"] = member.default
            optional.append(f"if {member.name!r} in params:")
            optional += ["    " + line for line in [*takes, "given += 1"]]
            if check:
                optional.append(f"    fine = fine and ({check})")
            optional += ["else:", f"    {it} = default{i}"]
        by_name = member.name in signature.keyword_only
        passed.append(f"{member.name}={it}" if by_name else it)
    required = sum(member.required for member in signature.members)
    condition = " and ".join(f"({check})" for check in fine) or "True"
    if not optional:
        needed.append(f"fine = len(params) == {required} and {condition}")
    else:
        needed += [f"given = {required}", f"fine = {condition}", *optional, "fine = fine and given == len(params)"]
    source = f"""
def call(params):
    try:
        {(chr(10) + "        ").join(needed)}
    except (KeyError, OverflowError, TypeError, Unfit):
        fine = False
    value = function({", ".join(passed)}) if fine else function(**arguments(params))
    kind = type(value)
    if kind is bool or kind is str or value is None or (kind is int and {-EXACT} <= value <= {EXACT}):
        return value
    return to_result(value)
"""
    if signature.more is not None:
        source = "def call(params): return to_result(function(**arguments(params)))"
    exec(compile(source, GENERATED, "exec"), names)
    made: Callable[[Any], Any] = names["call"]
    return made


# ---- split and merge -------------------------------------------------------------------------------------------------


def check_split(definition: Definition, signature: Signature) -> None:
    """LoadError if it cannot be called with the parameters of the task."""
    what = f"{definition}.split"
    try:
        parameters = inspect.signature(definition.split).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise LoadError(f"{what}: {error}") from None
    known = {member.name for member in signature.members}
    if "chunks" in known:
        raise LoadError(f"{what}: a task with a split cannot have a parameter chunks, because split gets it")
    for parameter in parameters:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise LoadError(f"{what}: {parameter.name} is positional-only (before /), but all parameters come by name")
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or parameter.name == "chunks":
            continue
        if parameter.name not in known and parameter.default is parameter.empty:
            takes = ", ".join([*(member.name for member in signature.members), "chunks"])
            raise LoadError(f"{what}: {definition} has no parameter {parameter.name}; split can take {takes}")


def check_merge(definition: Definition) -> None:
    try:
        inspect.signature(definition.merge).bind([])  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise LoadError(f"{definition}.merge: it is called with one argument, the list of the parts: {error}") from None


def accepts(function: Any) -> Optional[set[str]]:
    """The names that it takes; None: all."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


class JobType:
    """A task that can be called with JSON. `mean` is what a call takes, in seconds; the program keeps it."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.name = definition.name
        self.mean = float("inf")
        if not NAME.match(self.name):
            how = "give it one by @offload.task(name=...)"
            raise LoadError(f"{definition}: {self.name!r} cannot be the name of a job type ({NAME_RULE}): {how}")
        self.summary, descriptions = described(definition.function)
        self.signature = signature_of(definition.function, str(definition), descriptions)
        self.arguments = read_members(self.signature.members, f"parameter of {self.name}", self.signature.more)
        self.convert = to_result(definition.media_type)
        self.call = compile_call(callable_of(definition.function), self.signature, self.arguments, self.convert)
        self.binary = [member.name for member in self.signature.members if is_binary(member.shape.schema)]
        self.writable = definition.writable
        self.takes_parts = definition.merge is not None  # which can be binary
        self.result: Optional[Shape] = None
        self.split_names: Optional[set[str]] = None
        if definition.split is not None:
            check_split(definition, self.signature)
            self.split_names = accepts(definition.split)
            source = "def call(**kwargs): return list(islice(function(**kwargs), most))"
            self.split = boundary(source, definition.split, islice=itertools.islice, most=MAX_CHUNKS + 1)
        if definition.merge is not None:
            check_merge(definition)
            self.result = shape_of_result(definition.function)
            self.merge = callable_of(definition.merge)

    def describe(self) -> dict[str, Any]:
        """As `hello` has it."""
        definition = self.definition
        about: dict[str, Any] = {"name": self.name}
        if self.summary:
            about["summary"] = self.summary
        about["params"] = self.signature.schema()
        flags = [flag for flag in ("split", "merge") if getattr(definition, flag) is not None]
        if flags:
            about["flags"] = flags
        if definition.timeout is not None:
            about["timeout"] = definition.timeout
        if definition.max_attempts is not None:
            about["max_attempts"] = definition.max_attempts
        return about

    def attach(self, params: Any, attachments: list[Attachment]) -> Any:
        """The params of a call, with its attachments in their places."""
        found = {}
        for name in self.binary:
            value = params.get(name)
            if type(value) is dict:
                found[name] = attachment = attachments[value["attachment"]]
                attachment.writable = self.writable
            elif type(value) is str and self.writable:  # of a chunk
                try:
                    data = memoryview(read_bytes(value))
                except Unfit:
                    continue
                found[name] = attachment = Attachment(data, -1, 0, len(data), "")
                attachment.writable = True
        return {**params, **found} if found else params

    def plan(self, params: Any, chunks: int, attachments: list[Attachment]) -> list[dict[str, Any]]:
        """The params of the chunks. What a chunk leaves out is as in the job. No chunk at all: the job is the only
        one."""
        given = self.arguments(self.attach(params, attachments))
        values = {m.name: m.default for m in self.signature.members if not m.required}
        values.update(given, chunks=chunks)
        if self.split_names is not None:
            values = {name: value for name, value in values.items() if name in self.split_names}
        planned: list[dict[str, Any]] = []
        known = {member.name for member in self.signature.members}
        for chunk in self.split(**values):
            if len(planned) == MAX_CHUNKS:
                raise NoJson(f"split gave more than {MAX_CHUNKS} chunks")
            if not isinstance(chunk, dict):
                raise NoJson(f"split gave a chunk that is no dict of parameters, but {type(chunk).__name__}")
            for name in chunk:
                if name not in known and self.signature.more is None:
                    raise NoJson(f"split gave a chunk with {name!r}, which is not a parameter of {self.name}")
            planned.append({**params, **to_json(chunk)})
        return planned or [params]

    def merged(self, parts: list[Any]) -> Any:
        """The result of a job from the values of its chunks."""
        return self.convert(self.merge([self.part(part) for part in parts]))

    def part(self, value: Any) -> Any:
        """The value as the task returned it, if the return annotation tells: integers that came as strings are int."""
        plain = bytes(value.view()) if type(value) is Attachment else value
        if self.result is None:
            return plain
        try:
            return self.result.read(value)
        except Unfit:
            return plain
