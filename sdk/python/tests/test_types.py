"""What each annotation means: its schema, the values that it takes, and the places of those that it does not take. Then
what results become."""

import base64
import io
import json
import subprocess
import sys
import unittest

from host import PACKAGE, Program, ProgramTest, interpreter_with

FLOAT = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
BIG = 2**53 - 1
HEAD = """
import collections, collections.abc, dataclasses, enum, typing
from typing import *

class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2

@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0
    tags: List[str] = dataclasses.field(default_factory=list)

@dataclasses.dataclass
class Span:
    start: int
    stop: int
    def __post_init__(self):
        if self.stop < self.start:
            raise ValueError("stop is before start")

@dataclasses.dataclass
class Tree:
    value: int
    children: "List[Tree]" = dataclasses.field(default_factory=list)

class Options(TypedDict, total=False):
    depth: int
    name: str

class Pair(NamedTuple):
    left: int
    right: str = "r"

Id = NewType("Id", int)

def show(value):
    return f"{type(value).__name__} {value!r}"
"""

# annotation: schema, {JSON value: what Python makes of it}, {JSON value: (pointer below the parameter, words)}
CASES = {
    "int": (
        {"type": "integer"},
        [(5, "int 5"), (-BIG, f"int {-BIG}"), (str(10**40), f"int {10**40}"), ("-007", "int -7"), (1e3, "int 1000")],
        [
            (True, "", "must be an integer, not a boolean"),
            (1.5, "", "without a fraction"),
            ("1e3", "", "decimal digits only"),
            ("+1", "", "decimal digits only"),
            ("1_0", "", "decimal digits only"),
            ("٣", "", "decimal digits only"),
            ("", "", "decimal digits only"),
            ("9" * 5000, "", "4096 digits"),
            (1e300, "", "in digits"),
            (None, "", "not null"),
            ([], "", "not an array"),
        ],
    ),
    "float": (
        FLOAT,
        [
            (0.5, "float 0.5"),
            (3, "float 3.0"),
            ("NaN", "float nan"),
            ("Infinity", "float inf"),
            ("-Infinity", "float -inf"),
        ],
        [("nan", "", "NaN"), (True, "", "not a boolean"), (None, "", "not null"), (10**400, "", "64-bit")],
    ),
    "bool": ({"type": "boolean"}, [(True, "bool True"), (False, "bool False")], [(1, "", "must be true or false")]),
    "str": ({"type": "string"}, [("é\0", "str 'é\\x00'")], [(1, "", "must be a string, not an integer")]),
    "bytes": (
        {"type": "string", "contentEncoding": "base64"},
        [("AAEC", "bytes b'\\x00\\x01\\x02'"), ("", "bytes b''")],
        [("AAE", "", "is not base64"), ("AA E", "", "is not base64"), ("é", "", "is not base64"), (1, "", "base64")],
    ),
    "bytearray": (
        {"type": "string", "contentEncoding": "base64"},
        [("AAEC", "bytearray bytearray(b'\\x00\\x01\\x02')")],
        [],
    ),
    "None": ({"type": "null"}, [(None, "NoneType None")], [(0, "", "must be null")]),
    "Any": ({}, [(1, "int 1"), ("12", "str '12'"), ({"a": [None]}, "dict {'a': [None]}")], []),
    "object": ({}, [(10**30, f"int {10**30}")], []),
    "list": ({"type": "array"}, [([1, "a"], "list [1, 'a']")], [({}, "", "must be an array, not an object")]),
    "list[int]": (
        {"type": "array", "items": {"type": "integer"}},
        [([], "list []"), ([1, "2", 3.0], "list [1, 2, 3]"), ([1, 2], "list [1, 2]")],
        [([1, True], "/1", "not a boolean"), (["a"], "/0", "decimal"), ("12", "", "must be an array")],
    ),
    "List[float]": (
        {"type": "array", "items": FLOAT},
        [([1, 2.5, "NaN"], "list [1.0, 2.5, nan]"), ([0.5, 1.5], "list [0.5, 1.5]")],
        [([0.5, None], "/1", "not null")],
    ),
    "list[list[str]]": (
        {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        [([["a"], []], "list [['a'], []]")],
        [([[], ["a", 5]], "/1/1", "must be a string")],
    ),
    "collections.abc.Sequence[int]": ({"type": "array", "items": {"type": "integer"}}, [([1], "list [1]")], []),
    "Iterable": ({"type": "array"}, [([1], "list [1]")], []),
    "tuple": ({"type": "array"}, [([1, "a"], "tuple (1, 'a')")], []),
    "tuple[int, str]": (
        {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        [([1, "a"], "tuple (1, 'a')")],
        [([1], "", "must have 2 elements, not 1"), ([1, 2], "/1", "must be a string")],
    ),
    "Tuple[int, ...]": (
        {"type": "array", "items": {"type": "integer"}},
        [([1, 2], "tuple (1, 2)")],
        [(["x"], "/0", "decimal digits")],
    ),
    "set": ({"type": "array"}, [([1, 1], "set {1}")], [([1, []], "/1", "cannot be in a set: an array")]),
    "FrozenSet[str]": ({"type": "array", "items": {"type": "string"}}, [(["a"], "frozenset frozenset({'a'})")], []),
    "collections.deque": ({"type": "array"}, [([1], "deque deque([1])")], []),
    "dict": ({"type": "object"}, [({"a": 1}, "dict {'a': 1}")], [([], "", "must be an object, not an array")]),
    "Dict[str, int]": (
        {"type": "object", "additionalProperties": {"type": "integer"}},
        [({"a": "5"}, "dict {'a': 5}")],
        [({"a/b~c": None}, "/a~1b~0c", "must be an integer")],
    ),
    "collections.abc.Mapping[str, Any]": ({"type": "object"}, [({"a": 1}, "dict {'a': 1}")], []),
    "Literal['blur', 'sepia']": (
        {"type": "string", "enum": ["blur", "sepia"]},
        [("blur", "str 'blur'")],
        [("x", "", "must be one of blur, sepia"), (1, "", "must be one of")],
    ),
    "Literal[1, 'a', True, None]": (
        {"enum": [1, "a", True, None]},
        [(1, "int 1"), (True, "bool True"), (None, "NoneType None"), (1.0, "int 1")],
        [(False, "", "must be one of 1, a, true, null"), (0, "", "must be one of")],
    ),
    "Colour": (
        {"type": "string", "enum": ["red", "blue"]},
        [("red", "Colour <Colour.RED: 'red'>")],
        [("RED", "", "must be one of red, blue")],
    ),
    "Level": (
        {"enum": [1, 2]},
        [(2, "Level <Level.HIGH: 2>")],
        [(True, "", "must be one of 1, 2"), (3, "", "must be one of 1, 2")],
    ),
    "Optional[int]": (
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        [(None, "NoneType None"), (5, "int 5"), ("5", "int 5")],
        [("x", "", "decimal digits"), ([], "", "must be an integer, not an array")],
    ),
    "Optional[List[int]]": (
        {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
        [([1], "list [1]")],
        [([1, "x"], "/1", "decimal digits")],
    ),
    "Union[int, str]": (
        {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        [(5, "int 5"), ("5", "str '5'")],
        [(True, "", "must be an integer, not a boolean; or must be a string, not a boolean")],
    ),
    "Union[float, int]": ({"anyOf": [FLOAT, {"type": "integer"}]}, [(5, "int 5"), (5.5, "float 5.5")], []),
    "Union[Point, List[int]]": (
        None,
        [({"x": 1}, "Point Point(x=1.0, y=0.0, tags=[])"), ([1], "list [1]")],
        [({"x": "a"}, "/x", "must be a number"), ([None], "/0", "must be an integer")],
    ),
    "Point": (
        {
            "title": "Point",
            "type": "object",
            "properties": {
                "x": FLOAT,
                "y": {**FLOAT, "default": 0.0},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["x"],
            "additionalProperties": False,
        },
        [({"x": 1, "tags": ["a"]}, "Point Point(x=1.0, y=0.0, tags=['a'])")],
        [
            ({}, "", "x is required"),
            ({"x": 1, "z": 1}, "/z", '"z" is not a member of Point; it has x, y, tags'),
            ({"x": 1, "tags": [1]}, "/tags/0", "must be a string"),
            ([], "", "must be an object"),
        ],
    ),
    "List[Span]": (
        None,
        [([{"start": 1, "stop": 2}], "list [Span(start=1, stop=2)]")],
        [([{"start": 1, "stop": 2}, {"start": 2, "stop": 1}], "/1", "stop is before start")],
    ),
    "Tree": (
        {"$ref": "#/$defs/Tree"},
        [({"value": 1, "children": [{"value": 2}]}, "Tree Tree(value=1, children=[Tree(value=2, children=[])])")],
        [({"value": 1, "children": [{"value": 2}, {"value": None}]}, "/children/1/value", "not null")],
    ),
    "Options": (
        {
            "title": "Options",
            "type": "object",
            "properties": {"depth": {"type": "integer"}, "name": {"type": "string"}},
            "additionalProperties": False,
        },
        [({"depth": "3"}, "dict {'depth': 3}"), ({}, "dict {}")],
        [({"depth": "x"}, "/depth", "decimal"), ({"deep": 1}, "/deep", "not a member of Options")],
    ),
    "Pair": (
        {
            "type": "array",
            "minItems": 1,
            "maxItems": 2,
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
            "title": "Pair",
        },
        [([1], "Pair Pair(left=1, right='r')"), ([1, "x"], "Pair Pair(left=1, right='x')")],
        [([], "", "must have 1 to 2 elements, not 0"), ([1, 2], "/1", "must be a string")],
    ),
    "Id": ({"type": "integer"}, [(5, "int 5")], []),
    "Annotated[int, 'how many']": ({"type": "integer", "description": "how many"}, [(5, "int 5")], []),
    "'list[int]'": ({"type": "array", "items": {"type": "integer"}}, [([1], "list [1]")], []),
}
if sys.version_info >= (3, 10):
    CASES["int | None"] = CASES["Optional[int]"]


class Annotations(ProgramTest):
    def test_each_annotation(self):
        """Each of them as a parameter that is required, and as one with a default: there are two ways to read them."""
        lines = [HEAD]
        for i, annotation in enumerate(CASES):
            lines.append(f"def t{i}(v: {annotation}): return show(v)")
            lines.append(f"def d{i}(v: {annotation} = 'default', *, other: int = 1): return show(v)")
        names = ",".join(f"t{i},d{i}" for i in range(len(CASES)))
        program = self.start("\n".join(lines), ":" + names)
        for i, (annotation, (schema, good, bad)) in enumerate(CASES.items()):
            for name in (f"t{i}", f"d{i}"):
                with self.subTest(annotation, name=name):
                    params = program.types[name]["params"]
                    found = dict(params["properties"]["v"])
                    self.assertEqual(found.pop("default", None), "default" if name[0] == "d" else None)
                    if schema is not None:
                        self.assertEqual(found, schema)
                    self.assertEqual(params.get("required"), ["v"] if name[0] == "t" else None)
                    for value, expected in good:
                        self.assertEqual(program.value(name, v=value), expected)
                    for value, pointer, words in bad:
                        error = program.error(name, v=value)
                        self.assertEqual(error["code"], "invalid_params", (value, error))
                        self.assertEqual(error["pointer"], "/v" + pointer, (value, error))
                        self.assertIn(words, error["detail"], value)
        self.assertIn("Tree", program.types[f"t{list(CASES).index('Tree')}"]["params"]["$defs"])

    def test_the_schema_agrees(self):
        """What the schema takes is what the program takes, as far as a schema can say it."""
        python = interpreter_with("jsonschema")
        if python is None:
            self.skipTest("no Python here has jsonschema")
        judged = []
        program = self.start(
            HEAD + "\n".join(f"def t{i}(v: {a}): return show(v)" for i, a in enumerate(CASES)),
            ":" + ",".join(f"t{i}" for i in range(len(CASES))),
        )
        for i, (_, good, bad) in enumerate(CASES.values()):
            for value in [v for v, _ in good] + [v for v, _, _ in bad]:
                if isinstance(value, str) or value == 10**400:  # base64, and integers as strings: the schema says less
                    continue
                (answer,) = program.run(f"t{i}", {"v": value})
                judged.append([program.types[f"t{i}"]["params"], {"v": value}, "value" in answer, list(CASES)[i]])
        script = """
import json, jsonschema, sys
for schema, params, verdict, annotation in json.load(sys.stdin):
    if jsonschema.Draft202012Validator(schema).is_valid(params) != verdict:
        print(annotation, params, verdict)
"""
        text = json.dumps(judged)
        done = subprocess.run([python, "-c", script], input=text, capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "")
        differ = [line for line in done.stdout.splitlines() if not any(word in line for word in DIFFER)]
        self.assertEqual(differ, [])

    def test_parameters(self):
        program = self.start(
            '''
            from __future__ import annotations
            import offload

            @offload.task
            def all_kinds(a: int, b: "str" = "x", c=None, *, d: float = 0, e: bool):
                """What it does.

                More of it.

                Args:
                    a: how many
                        of them
                    b (str, optional): a word: or two
                    nothing: of this name

                Returns:
                    e: this is none
                """
                return [a, b, c, d, e]

            @offload.task
            def more(a: int, **rest: int):
                return [a, rest]

            @offload.task
            def none():
                return "none"

            @offload.task
            def implicit(n: int = None):
                return n
            '''
        )
        about = program.types["all_kinds"]
        self.assertEqual(about["summary"], "What it does.")
        properties = about["params"]["properties"]
        self.assertEqual(properties["a"], {"type": "integer", "description": "how many of them"})
        self.assertEqual(properties["b"], {"type": "string", "description": "a word: or two", "default": "x"})
        self.assertEqual(properties["c"], {"default": None})
        self.assertEqual(properties["e"], {"type": "boolean"})
        self.assertEqual(about["params"]["required"], ["a", "e"])
        self.assertEqual(program.value("all_kinds", a=1, e=True), [1, "x", None, 0, True])
        self.assertEqual(program.value("all_kinds", e=False, d=2, c=[1], b="b", a="7"), [7, "b", [1], 2.0, False])
        error = program.error("all_kinds", a=1)
        self.assertEqual((error["pointer"], error["detail"]), ("", "e is required"))
        error = program.error("all_kinds", a=1, e=True, f=1)
        self.assertEqual(error["pointer"], "/f")
        self.assertIn("it has a, b, c, d, e", error["detail"])

        self.assertIs(program.types["more"]["params"]["additionalProperties"], True)
        self.assertEqual(program.value("more", a=1, x=2, y="3"), [1, {"x": 2, "y": 3}])
        self.assertEqual(program.error("more", a=1, x="z")["pointer"], "/x")
        self.assertEqual(program.value("none"), "none")
        self.assertIn("it has none", program.error("none", x=1)["detail"])
        self.assertIsNone(program.value("implicit", n=None))
        self.assertEqual(program.value("implicit", n=5), 5)


# Here the schema says less or more than the program, and that is meant: integers can be decimal strings, and a large
# one has to be written in digits; a set holds no arrays; and __post_init__ has a say.
DIFFER = ("1e+300", "'2', 3.0]", "{'a': '5'}", "{'depth': '3'}", "set {", "List[Span]")

RESULTS = {
    "None": None,
    "True": True,
    "2**53 - 1": BIG,
    "2**53": str(2**53),
    "-2**53": str(-(2**53)),
    "[2**60, 1]": [str(2**60), 1],
    "{'a': {'b': [10**20]}}": {"a": {"b": [str(10**20)]}},
    "0.1": 0.1,
    "1e300 * 10": 1e301,
    "-0.0": -0.0,
    "float('nan')": "NaN",
    "[float('inf'), float('-inf'), 1.0]": ["Infinity", "-Infinity", 1.0],
    "'é\\U0001F600\\0\"'": 'é\U0001f600\0"',
    "(1, (2, 3))": [1, [2, 3]],
    "{3, 1, 2}": [1, 2, 3],
    "frozenset(['a'])": ["a"],
    "{}": {},
    "{1: 'a', 'b': 2}": {"1": "a", "b": 2},
    "{Colour.RED: Colour.BLUE}": {"red": "blue"},
    "Level.HIGH": 2,
    "Point(1.0)": {"x": 1.0, "y": 0.0, "tags": []},
    "[Point(float('nan'), 2**70)]": [{"x": "NaN", "y": str(2**70), "tags": []}],
    "Pair(1)": [1, "r"],
    "b'\\x00\\x01'": b"\x00\x01",
    "bytearray(b'ab')": b"ab",
    "memoryview(b'ab')": b"ab",
    "{'image': b'ab'}": {"image": "YWI="},
    "range(3)": [0, 1, 2],
    "collections.deque([1])": [1],
    "collections.OrderedDict(a=1)": {"a": 1},
    "collections.Counter('aab')": {"a": 2, "b": 1},
    "collections.UserDict(a=1)": {"a": 1},
    "collections.UserList([1])": [1],
    "{'a': 1}.keys()": ["a"],
    "{'a': 1}.values()": [1],
    "(i * i for i in range(3))": [0, 1, 4],
    "map(str, [1, 2])": ["1", "2"],
    "array.array('d', [0.5])": [0.5],
    "Text('abc')": "abc",
    "Whole(2**60)": str(2**60),
    "[[[]]]": [[[]]],
    "shared": [1],
}
NO_RESULTS = {
    "object()": "it is of the type object",
    "{'a': [1, 1j]}": "at /a/1 it is of the type complex",
    "Unknown()": "it is of the type tasks.Unknown",
    "print": "builtin_function_or_method",
    "int": "it is of the type type",
    "{1.5: 1}": "a key of the type float",
    "{None: 1}": "a key of the type NoneType",
    "{1: 1, '1': 2}": "two keys that are '1'",
    "{'a\\0': 1}": "NUL",
    "'\\ud800'": "not Unicode",
    "['ok', '\\udfff']": "not Unicode",
    "{'\\ud800': 1}": "not Unicode",
    "cycle()": "nested too deeply, or it contains itself",
    "datetime.date(2025, 1, 1)": "datetime.date",
}


class Results(ProgramTest):
    def test_each_result(self):
        text = HEAD + """
import array, datetime
class Text(str): pass
class Whole(int): pass
class Unknown: pass
shared = [1]
def cycle():
    a = []
    a.append(a)
    return a
"""
        expressions = [*RESULTS, *NO_RESULTS]
        text += "\n".join(f"def r{i}(): return {e}" for i, e in enumerate(expressions))
        program = self.start(text, ":" + ",".join(f"r{i}" for i in range(len(expressions))))
        for i, expression in enumerate(expressions):
            with self.subTest(expression):
                if expression in RESULTS:
                    value = program.value(f"r{i}")
                    if isinstance(value, bytes):
                        self.assertEqual(value, RESULTS[expression])
                    else:
                        self.assertEqual(json.dumps(value), json.dumps(RESULTS[expression]))
                else:
                    error = program.error(f"r{i}")
                    self.assertEqual(error["code"], "handler_failed")
                    self.assertIn(NO_RESULTS[expression], error["detail"])
                    self.assertIn("JSON cannot hold the result", error["detail"])

    def test_one_bad_string_fails_alone(self):
        program = self.start("def echo(n: int): return chr(n)", ":echo")
        answers = program.run("echo", {"n": 97}, {"n": 0xD800}, {"n": 98})
        self.assertEqual([a.get("value") for a in answers], ["a", None, "b"])
        self.assertIn("not Unicode", answers[1]["error"]["detail"])

    def test_results_are_those_of_their_time(self):
        """The results of a batch are sent together, and the task changes its list meanwhile."""
        program = self.start(
            """
            seen = []
            def collect(n: int):
                seen.append(n)
                return seen
            def table(n: int):
                return {"seen": seen}
            """,
            ":collect,table",
        )
        program.run("collect", {"n": 0})  # a type that was never called is taken to be slow
        answers = program.run("collect", *({"n": n} for n in range(1, 5)))
        self.assertEqual([a["value"] for a in answers], [list(range(n + 1)) for n in range(1, 5)])

    def test_deep_and_long(self):
        program = self.start(
            """
            def deep(n: int):
                value = 1
                for _ in range(n):
                    value = [value]
                return value
            def long(n: int):
                return [i + 0.5 for i in range(n)]
            def length(text: str):
                return len(text)
            """,
            ":deep,long,length",
        )
        value = program.value("deep", n=300)
        for _ in range(300):
            (value,) = value
        self.assertEqual(value, 1)
        self.assertIn("nested too deeply", program.error("deep", n=100000)["detail"])
        self.assertEqual(len(program.value("long", n=300000)), 300000)
        self.assertEqual(program.value("length", text="é" * 3000000), 3000000)
        self.assertEqual(program.value("length", text="abc"), 3)


class Numpy(ProgramTest):
    def setUp(self):
        super().setUp()
        self.python = interpreter_with("numpy")
        if self.python is None:
            self.skipTest("no Python here has numpy")

    def npy(self, expression):
        """The base64 of an array."""
        script = f"import numpy, sys; numpy.save(sys.stdout.buffer, {expression}, allow_pickle=True)"
        done = subprocess.run([self.python, "-c", script], capture_output=True, check=True)
        return base64.b64encode(done.stdout).decode()

    def test_arrays(self):
        program = self.start(
            """
            import numpy as np
            import numpy.typing as npt

            def double(a: np.ndarray) -> np.ndarray:
                return a * 2
            def floats(a: npt.NDArray[np.float64]):
                return float(a.sum())
            def scalars(n: np.int8, x: np.float32 = np.float32(0.5)):
                return [type(n).__name__, type(x).__name__, n, x]
            def many():
                return {"a": [np.int64(2**60), np.int8(1), np.float64("nan"), np.float32(0.5), np.bool_(True),
                              np.str_("s"), np.longdouble(1.5)]}
            def inside():
                return [np.zeros(2)]
            def objects():
                return np.array([object()])
            def zero():
                return np.float64(1.5)
            def bad():
                return np.datetime64("2025-01-01")
            """,
            ":double,floats,scalars,many,inside,objects,zero,bad",
            python=self.python,
            site=True,
        )
        schema = {"type": "string", "contentEncoding": "base64", "contentMediaType": "application/x-npy"}
        self.assertEqual(program.types["double"]["params"]["properties"]["a"], schema)
        value = program.value("double", a=self.npy("numpy.arange(6).reshape(2, 3)"))
        self.assertEqual(value, base64.b64decode(self.npy("numpy.arange(6).reshape(2, 3) * 2")))
        self.assertEqual(program.value("floats", a=self.npy("numpy.array([0.5, 1])")), 1.5)
        for value, words in [
            (self.npy("numpy.arange(3)"), "must be an array of float64, not of int64"),
            (base64.b64encode(b"abc").decode(), "format .npy"),
            (self.npy("numpy.array([object()])"), "Python objects"),
            (self.npy("numpy.arange(3)")[:80], "format .npy"),
            ("?", "base64"),
        ]:
            error = program.error("floats", a=value)
            self.assertEqual((error["code"], error["pointer"]), ("invalid_params", "/a"))
            self.assertIn(words, error["detail"])
        self.assertEqual(program.value("scalars", n=5), ["int8", "float32", 5, 0.5])
        self.assertIn("beyond the range of int8", program.error("scalars", n=300)["detail"])
        self.assertEqual(program.value("many"), {"a": [str(2**60), 1, "NaN", 0.5, True, "s", 1.5]})
        self.assertIn("at /0 it has a numpy.ndarray inside", program.error("inside")["detail"])
        self.assertIn(".npy", program.error("objects")["detail"])
        self.assertEqual(program.value("zero"), 1.5)
        self.assertIn("datetime64", program.error("bad")["detail"])

    def test_threads_of_numpy(self):
        """With one thread for OpenBLAS a template with numpy may be forked."""
        self.write("import numpy\ndef f(): return 1")
        program = Program("tasks.py:f", cwd=self.folder, python=self.python, site=True, start="")
        self.addCleanup(program.close)
        self.assertTrue(program.hello["fork"], program.hello)


class Encoders(unittest.TestCase):
    def test_both_encoders_agree(self):
        """orjson is used where it is there; numbers can be written otherwise (1e16, 1e+16), and mean the same."""
        sys.path.insert(0, PACKAGE)
        from offload import _values

        value = [1, "é\n\u2028", None, True, 0.1, 1e16, -1e-7, 5e-324, {"a": [2**53 - 1, -(2**53 - 1)]}]
        for encode in (_values.encode, _values.encode_plain):
            with io.BytesIO(encode(value)) as text:
                self.assertEqual(json.load(text), value)


if __name__ == "__main__":
    unittest.main()
