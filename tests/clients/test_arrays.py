"""The job type "array", compared with numpy: every dtype, byte order and memory order, op and axis; hostile files; and
workers that are killed while they scale in place."""

import contextlib
import http.client
import io
import json
import os
import signal
import threading
import unittest
import urllib.parse
from fractions import Fraction

import numpy as np
from daemon import PATIENCE_S, Daemon

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
REALS = ["float16", "float32", "float64"]
OPS = ["sum", "mean", "min", "max", "argmin", "argmax", "var"]
NPY = "application/x-npy"
UNIT = 2**1074  # every float is a multiple of 1 / UNIT; and / rounds a quotient of integers once


def npy(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def from_json(value):
    """Reals that JSON has as text."""
    if isinstance(value, list):
        return [from_json(one) for one in value]
    return float(value) if isinstance(value, str) else value


def exact(op, numbers):
    """The sum, mean or variance of a list of numbers, by definition: a float that was rounded once, or an integer."""
    if not all(np.isfinite(numbers)):
        return float(getattr(np, op)(np.array(numbers, dtype=np.float64)))
    units = [top * (UNIT // bottom) for top, bottom in (number.as_integer_ratio() for number in numbers)]
    total, count = sum(units), len(units)
    if op == "sum":
        return total / UNIT
    if op == "mean":
        return total / (count * UNIT)
    return (count * sum(x * x for x in units) - total * total) / (count * UNIT) ** 2


def exact_dot(a, b):
    pairs = [(x.as_integer_ratio(), y.as_integer_ratio()) for x, y in zip(a.tolist(), b.tolist())]
    return Fraction(sum(x[0] * y[0] * (UNIT // x[1]) * (UNIT // y[1]) for x, y in pairs), UNIT * UNIT)


class Service(unittest.TestCase):
    options = ("--workers", "2", "--max-body", "1GiB")

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(*cls.options).start()
        host, port = cls.daemon.url.partition("//")[2].split(":")
        cls.connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)

    @classmethod
    def tearDownClass(cls):
        cls.connection.close()
        cls.daemon.__exit__()

    def post(self, data, accept="application/json", **params):
        """Sends the bytes, and the parameters in the query. Returns the status, and what came: JSON or bytes."""
        params = {"type": "array", **{name.replace("__", "."): value for name, value in params.items()}}
        path = "/v1/jobs?" + urllib.parse.urlencode(params)
        self.connection.request("POST", path, data, {"Content-Type": "application/octet-stream", "Accept": accept})
        answer = self.connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if "json" in answer.getheader("Content-Type") else body

    def value(self, data, **params):
        status, job = self.post(data, **params)
        self.assertEqual(status, 200, job)
        return job["result"]

    def array(self, data, **params):
        status, body = self.post(data, accept=NPY, **params)
        self.assertEqual(status, 200, body)
        return np.load(io.BytesIO(body), allow_pickle=False)

    def refused(self, data, pointer, words, **params):
        status, problem = self.post(data, **params)
        self.assertEqual(status, 422, problem)
        self.assertEqual(problem["errors"][0]["pointer"], pointer)
        self.assertIn(words, problem["errors"][0]["detail"])

    def form(self, job, *data, blanks=0):
        """Sends the job, with so many blanks behind it, and the data parts."""
        parts = [b'Content-Disposition: form-data; name="job"\r\n\r\n' + json.dumps(job).encode() + b" " * blanks]
        parts += [b'Content-Disposition: form-data; name="data"; filename="a"\r\n\r\n' + bytes(one) for one in data]
        body = b"".join(b"--0000limit\r\n" + part + b"\r\n" for part in parts) + b"--0000limit--\r\n"
        self.connection.request("POST", "/v1/jobs", body, {"Content-Type": "multipart/form-data; boundary=0000limit"})
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


class Values(Service):
    def numbers(self, dtype, shape):
        """Any numbers of the dtype, the least and the greatest among them, some of them twice."""
        size = int(np.prod(shape))
        if dtype == "bool":
            return self.random.integers(0, 2, shape).astype(bool)
        if dtype in REALS:
            array = (self.random.standard_normal(size) * 10.0 ** self.random.integers(-3, 4, size)).astype(dtype)
        else:
            info = np.iinfo(dtype)
            array = self.random.integers(info.min, info.max, size, dtype=dtype, endpoint=True)
            array[size // 5], array[size // 3] = info.min, info.max
        array[-1] = array[size // 2]
        array[size - size // 4] = array.min()
        return array.reshape(shape)

    def setUp(self):
        self.random = np.random.default_rng(13)
        self.made = {}

    def once(self, what, array, make):
        """What `make` gives for an array of these numbers: the same for each order."""
        key = (what, array.dtype.name, array.shape, np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))).tobytes())
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def check_value(self, op, array, found):
        array = np.asarray(array)
        self.assertEqual(list(found), [op])
        found = found[op]
        if op in ("argmin", "argmax"):
            self.assertEqual(found, int(getattr(array, op)()))
        elif op in ("min", "max"):
            self.assertEqual(type(found), bool if array.dtype == bool else type(found))
            self.assertEqual(float(found) if array.dtype.kind == "f" else int(found), getattr(array, op)().item())
        elif op == "sum" and array.dtype.kind != "f":
            self.assertEqual(found, str(sum(array.ravel().tolist())))
        else:
            expected = self.once((op, None), array, lambda: exact(op, array.ravel().tolist()))
            self.assertEqual(from_json(found), expected)
            if array.dtype.kind == "f":  # numpy's own is near: it rounds each step
                np.testing.assert_allclose(getattr(np, op)(array.astype(np.float64)), expected, rtol=1e-9, atol=1e-9)

    def check_axis(self, op, array, axis, found):
        dtype = array.dtype.newbyteorder("=")
        if op in ("argmin", "argmax", "min", "max"):
            expected = getattr(np, op)(array.astype(dtype), axis=axis)
            self.assertEqual(found.dtype, dtype if op in ("min", "max") else np.int64)
            np.testing.assert_array_equal(found, expected)
            return
        if op == "sum" and dtype.kind != "f":
            expected = np.sum(array, axis=axis)
            self.assertEqual(found.dtype, np.uint64 if dtype.kind == "u" else np.int64)
        else:
            lanes = np.moveaxis(array, axis, -1)
            rows = lanes.reshape(-1, lanes.shape[-1])
            expected = self.once(
                (op, axis), array, lambda: np.reshape([exact(op, row) for row in rows.tolist()], lanes.shape[:-1])
            )
            self.assertEqual(found.dtype, np.float64)
        np.testing.assert_array_equal(found, expected)

    def test_every_dtype_order_op_and_axis(self):
        for dtype in ["bool", *INTEGERS, *REALS]:
            numbers = self.numbers(dtype, (4, 7, 5))
            if dtype in ("int64", "uint64"):
                numbers = numbers // 8 # numpy's sums wrap around, and ours are refused: see below
            for order in "<>":
                for memory in "CF":
                    array = np.array(numbers, dtype=np.dtype(dtype).newbyteorder(order), order=memory)
                    file = npy(array)
                    for op in OPS:
                        with self.subTest(dtype=dtype, order=order, memory=memory, op=op):
                            self.check_value(op, array, self.value(file, op=op))
                            for axis in (0, 1, -1):
                                self.check_axis(op, array, axis, self.array(file, op=op, axis=axis))

    def test_large_arrays_in_chunks(self):
        for dtype in ["bool", "int16", "int64", "uint64", *REALS]:
            array = self.numbers(dtype, 20001)
            for op in OPS:
                with self.subTest(dtype=dtype, op=op):
                    self.check_value(op, array, self.value(npy(array), op=op, options__chunks=7))
        for memory in "CF":
            array = np.array(self.numbers("float32", (300, 3, 70)), order=memory)
            for op in OPS:
                for axis in range(3):
                    with self.subTest(memory=memory, op=op, axis=axis):
                        found = self.array(npy(array), op=op, axis=axis, options__chunks=5)
                        self.check_axis(op, array, axis, found)

    def test_few_long_lanes_are_cut_into_slices(self):
        for dtype in ("bool", "int16", "uint64", "float32", "float64"):
            numbers = self.numbers(dtype, (13001, 3))
            if dtype == "float32":
                numbers[9000, 1] = np.nan
                numbers[12000] = np.nan, np.nan, np.inf
            if dtype == "uint64":
                numbers = numbers // 2**14
            for memory in "CF":  # the lanes are consecutive in Fortran order
                array = np.array(numbers, order=memory)
                for op in OPS:
                    with self.subTest(dtype=dtype, memory=memory, op=op), np.errstate(all="ignore"):
                        status, job = self.post(npy(array), op=op, axis=0, options__chunks=9)
                        self.assertEqual((status, job["progress"]["total"]), (200, 9 if memory == "F" else 3))
                        _, found = self.daemon.ask("GET", job["links"]["result"])
                        self.check_axis(op, array, 0, np.load(io.BytesIO(found)))
        many = np.array(self.numbers("float64", (8200, 150)), order="C")  # 64, 64 and 22 lanes
        for op in ("sum", "argmax"):
            self.check_axis(op, many, 0, self.array(npy(many), op=op, axis=0, options__chunks=7))
        self.refused(npy(np.full((9000, 2), 2**62)), "/params/axis", "beyond int64", axis=0, options__chunks=4)
        self.assertEqual(self.array(npy(np.zeros((0, 9000))), op="sum", axis=1, options__chunks=4).shape, (0,))

    def test_ties_are_the_first_ones_in_either_order(self):
        for memory in "CF":
            for numbers in ([[3, 1, 1], [1, 3, 2]], [[np.nan, 1, np.nan], [np.nan, 3, 2]], [[2, 1], [1, 1], [0, 0], [0, 2]]):
                array = np.array(numbers, dtype=np.float64, order=memory)
                for op in ("argmin", "argmax"):
                    self.assertEqual(self.value(npy(array), op=op, options__chunks=2), {op: int(getattr(array, op)())})
            bits = np.array(self.random.integers(0, 2, (50, 60)), dtype=bool, order=memory)
            bits[0, :7] = False
            self.assertEqual(self.value(npy(bits), op="argmax", options__chunks=2), {"argmax": int(bits.argmax())})

    def test_reals_that_are_not_finite(self):
        for dtype in REALS:
            for some in ([np.inf], [-np.inf], [np.inf, -np.inf], [np.nan], [np.nan, np.inf]):
                array = self.numbers(dtype, 2100)
                array[7 : 7 + 1000 * len(some) : 1000] = some
                for op in OPS:
                    with self.subTest(dtype=dtype, some=some, op=op), np.errstate(all="ignore"):
                        found = self.value(npy(array), op=op, options__chunks=2)[op]
                        expected = getattr(np, op)(array.astype(np.float64))
                        np.testing.assert_array_equal(np.float64(from_json(found)), np.float64(expected))
                        by_row = self.array(npy(array.reshape(3, 700)), op=op, axis=1)
                        if op in ("sum", "mean"):
                            expected = [exact(op, row.tolist()) for row in array.reshape(3, 700)]
                        elif op == "var":
                            continue
                        else:
                            expected = getattr(np, op)(array.reshape(3, 700), axis=1)
                        np.testing.assert_array_equal(by_row, expected)

    def test_sums_that_numpy_rounds(self):
        self.assertEqual(self.value(npy(np.array([1e308, 1e308, -1e308, 1.0, -1e308]))), {"sum": 1.0})
        self.assertEqual(self.value(npy(np.array([1e16, 1, -1e16] * 1000))), {"sum": 1000.0})
        self.assertEqual(self.value(npy(np.array([0.1] * 10))), {"sum": 1.0})
        self.assertEqual(self.value(npy(np.full(3, 2**64 - 1, np.uint64))), {"sum": str(3 * (2**64 - 1))})
        self.assertEqual(self.value(npy(np.array([5e-324] * 3))), {"sum": 1.5e-323})
        self.assertEqual(self.value(npy(np.array([1e200, -1e200])), op="var"), {"var": "Infinity"})
        self.assertEqual(self.value(npy(np.array([1e-170, 0])), op="var"), {"var": float(Fraction(1e-170) ** 2 / 4)})
        self.assertEqual(self.value(npy(np.array([1e9 + 1, 1e9, 1e9 - 1])), op="var"), {"var": 2 / 3})
        spread = [2.0**k * (-1) ** k for k in range(-1074, 1000)]
        self.assertEqual(self.value(npy(np.array(spread))), {"sum": exact("sum", spread)})
        self.assertEqual(self.value(npy(np.array(spread[500:1500])), op="var"), {"var": exact("var", spread[500:1500])})

    def test_small_and_empty_arrays(self):
        self.assertEqual(self.value(npy(np.array(7.5))), {"sum": 7.5})
        self.assertEqual(self.value(npy(np.array(7)), op="max"), {"max": 7})
        self.assertEqual(self.value(npy(np.zeros((3, 0)))), {"sum": 0.0})
        self.assertEqual(self.value(npy(np.zeros(0, np.int8))), {"sum": "0"})
        self.assertEqual(self.value(npy(np.zeros(0)), op="mean"), {"mean": "NaN"})
        self.assertEqual(self.value(npy(np.zeros(0)), op="var"), {"var": "NaN"})
        self.refused(npy(np.zeros(0)), "/params/array", "is empty", op="min")
        self.refused(npy(np.zeros((2, 0))), "/params/axis", "length 0", op="argmax", axis=1)
        np.testing.assert_array_equal(self.array(npy(np.zeros((2, 0))), op="sum", axis=1), [0, 0])
        self.assertEqual(self.array(npy(np.zeros((2, 0))), op="sum", axis=0).shape, (0,))
        self.assertEqual(self.value(npy(np.arange(4)), op="sum", axis=-1), {"sum": "6"})

    def test_the_summary_of_an_array(self):
        array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        for memory in "CF":
            found = self.value(npy(np.array(array, order=memory)), op="sum", axis=1)
            expected = [[str(one) for one in row] for row in array.sum(axis=1)]
            self.assertEqual(found, {"sum": expected, "dtype": "int64", "shape": [2, 4]})
        found = self.value(npy(np.zeros((2, 2000))), op="max", axis=0)
        self.assertEqual(found, {"dtype": "float64", "shape": [2000]})

    def test_dot(self):
        kinds = [*REALS, "int8", "uint32", "int64", "uint64"]
        for one in kinds:
            for other in kinds:
                a, b = self.numbers(one, 3001), self.numbers(other, 3001)
                job = {"type": "array", "params": {"op": "dot"}, "options": {"chunks": 3}}
                status, answer = self.form(job, npy(a), npy(b))
                with self.subTest(one=one, other=other):
                    if (one in REALS) != (other in REALS) and "64" in (one if one not in REALS else other):
                        self.assertEqual((status, answer["errors"][0]["pointer"]), (422, "/params/other"))
                        continue
                    expected = exact_dot(a, b)
                    expected = float(expected) if one in REALS or other in REALS else str(expected)
                    self.assertEqual(answer["result"], {"dot": expected})
                    if one in REALS and other in REALS:
                        near = np.dot(a.astype(np.float64), b.astype(np.float64))
                        np.testing.assert_allclose(near, expected, rtol=1e-9)

    def test_dot_of_extremes(self):
        a = np.array([1e-300, 1e200, 1e200, 5e-324, 3.0, 1e-150])
        b = np.array([1e-20, -1e200, 1e200, 0.5, 1e-310, 1e-160])
        _, answer = self.form({"type": "array", "params": {"op": "dot"}}, npy(a), npy(b))
        self.assertEqual(answer["result"], {"dot": float(exact_dot(a, b))})
        for a, b in (([np.inf, 1], [0, 1]), ([np.inf, 1], [2, 1]), ([-np.inf, np.inf], [1, 1])):
            _, answer = self.form({"type": "array", "params": {"op": "dot"}}, npy(np.array(a)), npy(np.array(b, float)))
            with np.errstate(all="ignore"):
                np.testing.assert_array_equal(from_json(answer["result"]["dot"]), np.dot(a, b))

    def test_scale(self):
        for dtype in [*INTEGERS, *REALS]:
            numbers = self.numbers(dtype, (6, 500))
            for order in "<>":
                for memory in "CF":
                    array = np.array(numbers, dtype=np.dtype(dtype).newbyteorder(order), order=memory)
                    for factor in (2, 0, 3, *((-1,) if dtype not in ("uint8", "uint16", "uint32", "uint64") else ()),
                                   *((0.1, -1e-3) if dtype in REALS else ())):
                        with self.subTest(dtype=dtype, order=order, memory=memory, factor=factor):
                            with np.errstate(all="ignore"):
                                expected = np.multiply(array, np.array(factor).astype(dtype), dtype=dtype)
                            found = self.array(npy(array), op="scale", factor=factor)
                            self.assertEqual((found.dtype, found.shape), (array.dtype, array.shape))
                            self.assertEqual(found.flags.f_contiguous, array.flags.f_contiguous)
                            self.assertEqual(found.astype(dtype).tobytes(), expected.astype(dtype).tobytes())
                            if factor == 3 and np.isfinite(expected).all():
                                summary = self.value(npy(array), op="scale", factor=factor)
                                self.check_value("sum", expected, {"sum": summary.pop("sum")})
                                self.assertEqual(summary, {"dtype": dtype, "shape": [6, 500]})

    def check_map(self, job, factors, arrays, blanks):
        """Each item scales an array: the same one, or one of its own."""
        status, answer = self.form(job, *map(npy, arrays), blanks=blanks)
        self.assertEqual(status, 200, answer)
        found = answer["result"].get("items" if "items" in job else "results")
        self.assertEqual((len(found), answer["result"].get("errors", [])), (len(factors), []))
        for at, (item, factor) in enumerate(zip(found, factors)):
            expected = arrays[at % len(arrays)] * factor
            self.assertEqual(item.get("status"), "succeeded" if "items" in job else None, item)
            self.assertEqual(item["result"]["sum"], str(expected.sum()))
            _, found = self.daemon.ask("GET", f"{answer['links']['result']}/{at}")
            np.testing.assert_array_equal(np.load(io.BytesIO(found)), expected)

    def test_scale_in_maps(self):
        arrays = [np.arange(20000) + i for i in range(3)]  # each is in memory of its own
        factors = [2, 3, 5]
        for large in (False, True):  # a worker parses a job of more than 32 KiB
            for own in (False, True):
                data = arrays if own else arrays[:1]
                items = [{"op": "scale", "factor": factor} for factor in factors]
                named = [{**item, "array": {"part": at if own else 0}} for at, item in enumerate(items)]
                columns = {"op": "scale", "factor": factors}
                jobs = [{"items": items}, {"items": named}, {"columns": columns},
                        {"columns": {**columns, "array": [item["array"] for item in named]}}]
                if not own:
                    jobs.append({"columns": {**columns, "array": {"part": 0}}})
                for job in jobs:
                    with self.subTest(large=large, own=own, job=job):
                        self.check_map({"type": "array", **job}, factors, data, blanks=40000 if large else 0)

    def test_scale_of_every_float16(self):
        every = np.arange(65536, dtype=np.uint16).view(np.float16)
        for factor in (1, 0.3330078125, 1024, 2.0**-14, -5.9604645e-08):
            with np.errstate(all="ignore"):
                expected = every * np.float16(factor)
            found = self.array(npy(every), op="scale", factor=factor, options__chunks=3)
            numbers = ~np.isnan(expected)
            np.testing.assert_array_equal(np.isnan(found), ~numbers)
            self.assertEqual(found[numbers].tobytes(), expected[numbers].tobytes())

    def test_factors_that_do_not_fit(self):
        self.refused(npy(np.arange(3)), "/params/factor", "must be an integer", op="scale", factor=0.5)
        self.refused(npy(np.arange(3, dtype=np.int8)), "/params/factor", "beyond int8", op="scale", factor=128)
        self.refused(npy(np.arange(3, dtype=np.uint8)), "/params/factor", "beyond uint8", op="scale", factor=-1)
        self.refused(npy(np.zeros(3, np.float16)), "/params/factor", "beyond float16", op="scale", factor=65520)
        self.refused(npy(np.zeros(3, bool)), "/params/factor", "bool", op="scale", factor=2)
        self.refused(npy(np.zeros(3)), "/params", "factor", op="scale")
        self.assertEqual(self.value(npy(np.arange(3)), op="scale", factor="1e3")["sum"], "3000")
        most = 2**64 - 1
        self.assertEqual(self.value(npy(np.ones(1, np.uint64)), op="scale", factor=f'"{most}"')["sum"], str(most))
        self.refused(npy(np.zeros(3)), "/params/factor", "as a string", op="scale", factor='"two"')
        self.refused(npy(np.ones(1, np.uint64)), "/params/factor", "beyond uint64", op="scale", factor=f'"{most + 1}"')

    def test_bytes_without_a_header(self):
        array = self.numbers("float32", (4, 6))
        self.check_value("sum", array, self.value(array.tobytes(), dtype="float32"))
        self.check_value("sum", array, self.value(array.astype(">f4").tobytes(), dtype=">f4", shape="[4,6]"))
        found = self.array(array.tobytes(), dtype="<f4", shape="[4,6]", op="max", axis=0)
        np.testing.assert_array_equal(found, array.max(axis=0))
        found = self.array(array.tobytes(), dtype="f4", shape="[24]", op="scale", factor=2)
        self.assertEqual(found.tobytes(), (array * np.float32(2)).tobytes())
        self.refused(array.tobytes(), "/params/shape", "96 bytes", dtype="float32", shape="[4,7]")
        self.refused(array.tobytes()[:-1], "/params/array", "95 bytes", dtype="float32")
        self.refused(array.tobytes(), "/params/dtype", "unknown dtype 'float31'", dtype="float31")
        self.refused(array.tobytes(), "/params/shape/1", "length", dtype="float32", shape="[4,-6]")
        self.refused(array.tobytes(), "/params/array", "no .npy file")
        self.refused(npy(array), "/params/shape", "dtype", shape="[4,6]")

    def test_files_that_are_refused(self):
        for dtype, word in (("complex128", "complex"), ("object", "object"), ("S3", "string"), ("U3", "string"),
                            ([("a", "f8")], "structured"), ("M8[s]", "time"), (np.longdouble, "unknown")):
            file = io.BytesIO()
            np.save(file, np.zeros(2, dtype), allow_pickle=True)
            self.refused(file.getvalue(), "/params/array", f"{word} dtype")
        array = np.zeros((3, 4))
        self.refused(npy(array)[:-1], "/params/array", "96 bytes, but 95 bytes")
        self.refused(npy(array) + b"x", "/params/array", "96 bytes, but 97 bytes")
        self.refused(npy(array)[:40], "/params/array", "cut off")
        self.refused(npy(array).replace(b"(3, 4)", b"(3,-4)"), "/params/array", "negative")
        self.refused(npy(array).replace(b"{", b"["), "/params/array", "dict")
        for version in ((1, 0), (2, 0), (3, 0)):
            self.assertEqual(self.value(npy(array, version)), {"sum": 0.0})
        self.refused(b"\x93NUMPY\x04\x00" + npy(array)[8:], "/params/array", "version 4.0")
        self.refused(npy(array), "/params/axis", "2 dimensions", op="sum", axis=2)
        self.refused(npy(array), "/params/axis", "not for op scale", op="scale", factor=2, axis=0)
        self.refused(npy(array), "/params/factor", "not for op sum", factor=2)
        big = np.full((2, 2), 2**62)
        self.refused(npy(big), "/params/axis", "beyond int64", axis=0)
        self.assertEqual(self.value(npy(big)), {"sum": str(2**64)})


class Killed(Service):
    """Workers are killed while they scale 64 MiB in place: no number is scaled twice, and none is left out."""

    def busy_workers(self):
        status, body = self.daemon.ask("GET", "/v1/workers")
        self.assertEqual(status, 200)
        return [worker["pid"] for worker in json.loads(body)["workers"] if worker["state"] == "busy"]

    def test_workers_that_are_killed_in_place(self):
        array = np.arange(8 << 20, dtype=np.int64)
        file = npy(array)
        hits = 0
        for _ in range(100):
            if hits == 3:
                return
            stop = threading.Event()

            def kill():
                kills = 0
                while not stop.is_set() and kills < 3:  # each retry waits twice as long as the one before
                    for pid in self.busy_workers()[:1]:
                        stop.wait(0.01)
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                        kills += 1

            killer = threading.Thread(target=kill)
            killer.start()
            try:
                status, job = self.post(file, op="scale", factor=3, options__chunks=2, options__max_attempts=20)
            finally:
                stop.set()
                killer.join()
            if status == 500:  # it was killed too often
                continue
            self.assertEqual(status, 200, job)
            self.assertEqual(job["result"]["sum"], str(3 * int(array.sum())))
            hits += job["attempts"] > 1
            _, body = self.daemon.ask("GET", job["links"]["result"])
            np.testing.assert_array_equal(np.load(io.BytesIO(body)), array * 3)
        self.fail("no worker was killed in the middle of a job that has ended well")


if __name__ == "__main__":
    unittest.main()
