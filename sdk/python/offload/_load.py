"""Loading: FILE or MODULE, and the names in it, become job types. What is wrong with them is one line."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
import types
from typing import Any

from . import _tasks
from ._errors import LoadError
from ._tasks import Definition, definition_of
from ._trace import HERE, reason, strip
from ._types import JobType

def parse(spec: str) -> tuple[str, list[str]]:
    """FILE|MODULE[:NAME,...]"""
    if os.path.exists(spec):
        return spec, []
    what, colon, names = spec.rpartition(":")
    if not colon or not re.match(r"[^\W\d]\w*(,[^\W\d]\w*)*\Z", names):
        return spec, []
    return what, names.split(",")


def is_file(what: str) -> bool:
    return what.endswith(".py") or os.sep in what or os.path.isfile(what)


def import_file(path: str) -> types.ModuleType:
    """Imports a file as a module that is called like the file, or otherwise if a module of that name is there already.
    So `if __name__ == "__main__":` blocks do not run."""
    full = os.path.abspath(path)
    if not os.path.exists(full):
        raise LoadError("there is no such file")
    if os.path.isdir(full):
        raise LoadError("it is a directory")
    folder, base = os.path.split(full)
    # A script has its own directory on the path, and not the current one that `python3 -m` puts there.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    sys.path.insert(0, folder)
    name = os.path.splitext(base)[0]
    if not name.isidentifier() or name in sys.modules or is_elsewhere(name, full):
        name = "__offload_tasks__"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:  # a suffix that Python does not know
        from importlib.machinery import SourceFileLoader

        spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, full))
        assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def is_elsewhere(name: str, full: str) -> bool:
    """Does `import name` mean another file? Then that name belongs to the other one."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return found is not None and (found.origin is None or os.path.abspath(found.origin) != full)


def import_module(name: str) -> types.ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise LoadError("it is neither a file nor the name of a module")
    if sys.path[:1] not in ([""], [os.getcwd()]):
        sys.path.insert(0, os.getcwd())
    return importlib.import_module(name)


def guarded(what: str) -> types.ModuleType:
    """Imports it. Whatever happens there is a LoadError, and its traceback is on stderr."""
    try:
        return import_file(what) if is_file(what) else import_module(what)
    except LoadError:
        raise
    except BaseException as error:
        trace = strip(error.__traceback__)
        if isinstance(error, ModuleNotFoundError) and trace is None:
            raise LoadError(f"{error}; modules are looked for in {os.getcwd()} and on the path of Python") from None
        text = "".join(traceback.format_exception(type(error), error, trace))
        sys.stderr.write(text.encode("utf-8", "backslashreplace").decode())
        raise LoadError(reason(error, trace)) from None


def definitions_in(module: types.ModuleType, what: str) -> list[Definition]:
    """The decorated functions: those that the module defines, and those that it imports from others."""
    named = [definition_of(value) for value in vars(module).values()]
    found = [d for d in _tasks.defined if d in named or d.function.__module__ == module.__name__]
    if not found:
        raise LoadError(f"no function in it is decorated with @offload.task; name some: {what}:name,...")
    return found


def definition_named(module: types.ModuleType, name: str) -> Definition:
    try:
        value: Any = getattr(module, name)
    except AttributeError:
        raise LoadError(f"it has no {name}") from None
    definition = definition_of(value)
    if definition is not None:
        return definition
    if isinstance(value, type):
        raise LoadError(f"{name} is a class, not a function")
    if not callable(value):
        raise LoadError(f"{name} is not a function, but of the type {type(value).__name__}")
    return Definition(value, name)


def load(spec: str) -> tuple[types.ModuleType, list[JobType]]:
    what, names = parse(spec)
    module = guarded(what)
    definitions = [definition_named(module, n) for n in dict.fromkeys(names)] if names else definitions_in(module, what)
    by_name: dict[str, Definition] = {}
    job_types = []
    for definition in definitions:
        job_types.append(JobType(definition))
        other = by_name.setdefault(definition.name, definition)
        if other is not definition:
            raise LoadError(f"two tasks are called {definition.name}: {other.where()} and {definition.where()}")
    return module, job_types


def sources(module: types.ModuleType) -> list[str]:
    """The files that the tasks come from: all that are loaded from the directory of the module (of its package, if it
    is in one), except for installed packages."""
    own = os.path.abspath(getattr(module, "__file__", None) or "")
    package = module.__name__.partition(".")[0]
    root = os.path.dirname(own)
    if package != module.__name__ and getattr(sys.modules.get(package), "__file__", None):
        root = os.path.dirname(os.path.abspath(str(sys.modules[package].__file__)))
    foreign = (HERE, os.path.dirname(os.path.abspath(os.__file__)) + os.sep)
    found = {own}
    for other in list(sys.modules.values()):
        file = getattr(other, "__file__", None)
        if not isinstance(file, str):
            continue
        file = os.path.abspath(file)
        parts = file.split(os.sep)
        if not file.startswith(root + os.sep) or "site-packages" in parts or "dist-packages" in parts:
            continue
        if os.path.isfile(file) and not file.startswith(foreign):
            found.add(file)
    return sorted(found)
