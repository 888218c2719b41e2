"""Calls: errors, batches, progress, split and merge, cancelling, and the end of the conversation."""

import json
import os
import select
import signal
import struct
import threading
import time
import unittest

from host import INSTALLED, ProgramTest, until


class Errors(ProgramTest):
    def test_exceptions(self):
        program = self.start(
            """
            import sys
            import offload
            class TooBig(Exception): pass
            def inner(n):
                raise TooBig(f"{n} is too big")
            def own(n: int): inner(n)
            def chained():
                try: 1 / 0
                except ZeroDivisionError as error: raise ValueError("é\\ud800") from error
            def silent(): raise ValueError
            def leave(): sys.exit(3)
            def interrupt(): raise KeyboardInterrupt
            def stop(): raise GeneratorExit("x")
            def memory(): raise MemoryError
            def huge(): return bytearray(1 << 62)
            def deep(n: int = 0): return deep(n + 1)
            class Bad(Exception):
                def __str__(self): raise RuntimeError
            def bad(): raise Bad
            def not_asked(): raise offload.Cancelled
            def long(): raise ValueError("x" * 1000000)
            """,
            ":own,chained,silent,leave,interrupt,stop,memory,huge,deep,bad,not_asked,long",
        )
        error = program.error("own", n=5)
        self.assertEqual((error["code"], error["exception"]), ("handler_failed", "tasks.TooBig"))
        self.assertEqual(error["detail"], "5 is too big")
        lines = error["traceback"].splitlines()
        self.assertEqual(lines[0], "Traceback (most recent call last):")
        self.assertIn("tasks.py", lines[1])
        self.assertIn("in own", lines[1])
        self.assertIn("in inner", error["traceback"])
        self.assertEqual(lines[-1], "tasks.TooBig: 5 is too big")
        self.assertNotIn(INSTALLED, error["traceback"])
        self.assertNotIn("<offload>", error["traceback"])

        error = program.error("chained")
        self.assertEqual((error["exception"], error["detail"]), ("ValueError", "é\\ud800"))
        self.assertIn("ZeroDivisionError: division by zero", error["traceback"])
        self.assertIn("direct cause", error["traceback"])
        for name, exception, detail in [
            ("silent", "ValueError", "ValueError"),
            ("leave", "SystemExit", "sys.exit(3)"),
            ("interrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
            ("stop", "GeneratorExit", "x"),
            ("bad", "tasks.Bad", "Bad"),
            ("not_asked", "offload._errors.Cancelled", "Cancelled"),
        ]:
            error = program.error(name)
            self.assertEqual(error["code"], "handler_failed")
            self.assertEqual((error["exception"], error["detail"]), (exception, detail))
        self.assertEqual(program.error("memory")["code"], "memory_limit")
        self.assertEqual(program.error("huge")["code"], "memory_limit")
        error = program.error("deep")
        self.assertEqual(error["exception"], "RecursionError")
        self.assertLess(len(error["traceback"]), 70000)
        self.assertLess(len(program.error("long")["detail"]), 9000)
        self.assertEqual(program.printed(), "")

    def test_invalid_params(self):
        program = self.start(
            """
            import offload
            @offload.task
            def f(kind: str):
                if kind == "pointer": raise offload.InvalidParams("/a/0", "is wrong")
                if kind == "name": raise offload.InvalidParams("a/b", "is wrong")
                if kind == "all": raise offload.InvalidParams("", "are wrong")
                raise offload.InvalidParams(5, "x")
            """
        )
        for kind, pointer, detail in [
            ("pointer", "/a/0", "is wrong"),
            ("name", "/a~1b", "is wrong"),
            ("all", "", "are wrong"),
        ]:
            self.assertEqual(
                program.error("f", kind=kind), {"code": "invalid_params", "pointer": pointer, "detail": detail}
            )
        self.assertEqual(program.error("f", kind="x")["exception"], "TypeError")

    def test_what_is_not_there(self):
        program = self.start("def f(): pass", ":f")
        self.assertEqual(
            [a["error"]["detail"] for a in program.run("g", {}, {})], ["this program has no type 'g'"] * 2
        )
        for kind, flag in (("plan", "split"), ("merge", "merge")):
            answer = program.ask(kind, "f", params={}, parts=[], chunks=0)
            self.assertEqual(answer["error"]["detail"], f"this program has no type 'f' with {flag}")
        self.assertEqual(program.error("f", **{"x": 1})["code"], "invalid_params")
        program.send({"kind": "what is this", "call": 1})
        self.assertIsNone(program.value("f"))


class Batches(ProgramTest):
    TASKS = """
        import time
        def echo(n: int): return n
        def fail(n: int):
            if n % 3 == 0: raise ValueError(n)
            return n
        def wait(ms: int):
            time.sleep(ms / 1000)
            return ms
        """

    def test_order_and_errors(self):
        program = self.start(self.TASKS, ":echo,fail")
        for _ in range(3):
            calls = [{"n": n} for n in range(1, 41)]
            found = program.run("fail", *calls)
            self.assertEqual([a.get("value") for a in found], [None if n % 3 == 0 else n for n in range(1, 41)])
            self.assertEqual([a["error"]["detail"] for a in found if "error" in a], [str(n) for n in range(3, 41, 3)])
        program.run("echo", {"n": 1})
        calls = [{"n": n} if n != 5 else {"n": "x"} for n in range(16)]
        found = program.run("echo", *calls)
        self.assertEqual([a.get("value") for a in found], [*range(5), None, *range(6, 16)])

    def test_one_frame_for_a_batch(self):
        """Results of short calls come together. Calls of a type that is not known yet, or takes long, come alone."""
        program = self.start(self.TASKS, ":echo,wait")
        program.run("echo", *[{"n": 1}] * 60)
        least = 16
        for _ in range(50):  # another process can make any call a long one
            before = program.frames
            program.run("echo", *[{"n": 1}] * 16)
            least = min(least, program.frames - before)
        self.assertEqual(least, 1)
        before = program.frames
        program.run("wait", *[{"ms": 2}] * 5)
        self.assertEqual(program.frames - before, 5)

    def test_results_do_not_wait(self):
        """A call that takes long does not hold back those that are finished: the type is known to be slow."""
        program = self.start(self.TASKS, ":wait")
        first = program.begin("wait", {"ms": 3}, {"ms": 0}, {"ms": 60000})
        self.assertEqual([a["value"] for a in program.answers(first, 2)], [3, 0])
        self.assertEqual(select.select([program.sock], [], [], 0.05)[0], [])
        program.process.kill()

    def test_two_batches(self):
        program = self.start(self.TASKS, ":echo,fail")
        expected = program.begin("echo", {"n": 0})
        program.begin("echo", *[{"n": n} for n in range(1, 16)])
        for i in range(200):
            count = 1 if i == 0 else 15
            found = program.answers(expected, count)
            self.assertTrue(all("value" in a for a in found))
            expected += count
            program.begin("echo", *[{"n": n} for n in range(15)])
        program.answers(expected, 30)

    def test_pieces(self):
        """Frames in pieces, and many in one piece."""
        program = self.start(self.TASKS + "\n        def size(text: str): return len(text)\n", ":echo,size")
        data = b""
        for i in range(300):
            text = json.dumps({"kind": "run", "type": "echo", "call": i, "calls": [{"n": i}]}).encode()
            data += struct.pack("<II", len(text), 0) + text
        for i in range(0, 700, 7):
            program.sock.sendall(data[i : i + 7])
            time.sleep(0.0005)
        program.sock.sendall(data[700:])
        self.assertEqual([a["value"] for a in program.answers(0, 300)], list(range(300)))
        program.next_call = 300
        thread = threading.Thread(target=program.begin, args=("size", {"text": "x" * 30000000}, {"text": "é"}))
        thread.start()
        self.assertEqual([a["value"] for a in program.answers(300, 2)], [30000000, 1])
        thread.join()
        self.assertEqual(program.value("echo", n=1), 1)

    def test_what_a_call_can_ask(self):
        program = self.start(
            """
            import offload
            def ask():
                return [offload.attempt(), offload.deadline(), offload.cancelled()]
            assert ask() == [0, None, False]
            offload.progress(1, 2)
            """,
            ":ask",
        )
        found = program.run("ask", {}, attempt=2, deadline=1764230400.25)
        self.assertEqual(found[0]["value"], [2, 1764230400.25, False])
        self.assertEqual(program.value("ask"), [0, None, False])

    def test_progress(self):
        program = self.start(
            """
            import threading, time
            import offload
            def steps(n: int):
                for i in range(n):
                    offload.progress(i + 1, n)
                    if i % 100 == 0: time.sleep(0.006)
                return n
            def half(): offload.progress(0.5, 1.0)
            def thread():
                t = threading.Thread(target=offload.progress, args=(1, 1))
                t.start()
                t.join()
            def bad(): offload.progress(2, 1)
            def worse(): offload.progress("a", 1)
            def text(n: int): return n
            """,
            ":steps,half,thread,bad,worse,text",
        )
        seen = []
        self.assertEqual(program.answers(program.begin("steps", {"n": 1000}), 1, seen)[0]["value"], 1000)
        self.assertEqual(seen[-1], {"kind": "progress", "call": 0, "done": 1000, "total": 1000})
        self.assertGreaterEqual(len(seen), 10)
        self.assertLess(len(seen), 900)
        self.assertEqual([m["done"] for m in seen], sorted({m["done"] for m in seen}))
        seen = []
        program.answers(program.begin("half", {}), 1, seen)
        program.answers(program.begin("thread", {}), 1, seen)
        self.assertEqual([(m["call"], m["done"], m["total"]) for m in seen], [(1, 0.5, 1), (2, 1, 1)])
        self.assertEqual(program.error("bad")["detail"], "progress takes 0 <= done <= total, not 2 of 1")
        self.assertEqual(program.error("worse")["exception"], "TypeError")


class Functions(ProgramTest):
    def test_coroutines_and_generators(self):
        program = self.start(
            """
            import asyncio
            async def wait(n: int):
                await asyncio.sleep(0)
                return n + 1
            async def fail():
                raise ValueError("no")
            def squares(n: int):
                for i in range(n): yield i * i
            async def later(n: int):
                for i in range(n):
                    await asyncio.sleep(0)
                    yield i
            def broken():
                yield 1
                raise ValueError("after one")
            """,
            ":wait,fail,squares,later,broken",
        )
        self.assertEqual(program.value("wait", n=1), 2)
        self.assertEqual(program.error("fail")["detail"], "no")
        self.assertEqual(program.value("squares", n=4), [0, 1, 4, 9])
        self.assertEqual(program.value("later", n=3), [0, 1, 2])
        error = program.error("broken")
        self.assertEqual(error["detail"], "after one")
        self.assertIn("in broken", error["traceback"])

    def test_split_and_merge(self):
        program = self.start(
            """
            import offload
            from typing import List

            @offload.task
            def squares(start: int, stop: int, step: int = 1) -> int:
                return sum(n * n for n in range(start, stop, step))
            @squares.split
            def _(start, stop, chunks, step):
                size = max(1, -(-(stop - start) // (chunks or 4)))
                for begin in range(start, stop, size):
                    yield {"start": begin, "stop": min(stop, begin + size)}
            @squares.merge
            def _(parts):
                return sum(parts)

            @offload.task
            def bad(kind: str): pass
            @bad.split
            def _(kind):
                if kind == "many": return ({} for _ in iter(int, 1))
                if kind == "name": return [{"other": 1}]
                if kind == "no dict": return [5]
                if kind == "invalid": raise offload.InvalidParams("/kind", "no")
                if kind == "string": return [{"kind": "\\ud800"}]
                if kind == "most": return [{}] * 4096
                raise ValueError(kind)

            @offload.task
            def images(parts: List[bytes], **rest) -> bytes:
                return b"".join(parts)
            @images.split
            def _(parts, **rest):
                return [{"parts": [part], "more": 2**60} for part in parts]
            @images.merge
            def _(parts):
                return b"-".join(parts)

            @offload.task
            def untyped(n): return n
            @untyped.merge
            def _(parts): return parts
            """
        )
        answer = program.ask("plan", "squares", params={"start": 0, "stop": "10"}, chunks=3)
        self.assertEqual(answer["kind"], "planned")
        self.assertEqual(
            answer["chunks"], [{"start": 0, "stop": 4}, {"start": 4, "stop": 8}, {"start": 8, "stop": 10}]
        )
        parts = [a["value"] for a in program.run("squares", *answer["chunks"])]
        self.assertEqual(program.ask("merge", "squares", parts=parts)["value"], 285)
        # What a chunk leaves out is as in the job; integers beyond 2^53 come as strings, and are int again.
        answer = program.ask("plan", "squares", params={"start": 0, "stop": 4, "step": 2}, chunks=1)
        self.assertEqual(answer["chunks"], [{"start": 0, "stop": 4, "step": 2}])
        self.assertEqual(program.ask("merge", "squares", parts=[str(2**60), 1])["value"], str(2**60 + 1))
        answer = program.ask("plan", "squares", params={"start": 5, "stop": 5}, chunks=0)
        self.assertEqual(answer["chunks"], [{"start": 5, "stop": 5}])
        answer = program.ask("plan", "squares", params={"start": 5}, chunks=0)
        self.assertEqual(answer["error"], {"code": "invalid_params", "pointer": "", "detail": "stop is required"})

        for kind, words in [
            ("many", "split gave more than 4096 chunks"),
            ("name", "split gave a chunk with 'other', which is not a parameter of bad"),
            ("no dict", "split gave a chunk that is no dict of parameters, but int"),
            ("string", "not Unicode"),
            ("else", "else"),
        ]:
            error = program.ask("plan", "bad", params={"kind": kind}, chunks=0)["error"]
            self.assertEqual(error["code"], "handler_failed")
            self.assertIn(words, error["detail"])
        error = program.ask("plan", "bad", params={"kind": "invalid"}, chunks=0)["error"]
        self.assertEqual((error["code"], error["pointer"]), ("invalid_params", "/kind"))
        self.assertEqual(len(program.ask("plan", "bad", params={"kind": "most"}, chunks=0)["chunks"]), 4096)

        answer = program.ask("plan", "images", params={"parts": ["YQ==", "Yg=="]}, chunks=0)
        self.assertEqual(answer["chunks"][1], {"parts": ["Yg=="], "more": str(2**60)})
        self.assertEqual(program.ask("merge", "images", parts=["YQ==", "Yg=="])["value"], b"a-b")
        self.assertEqual(program.ask("merge", "images", parts=[5])["error"]["exception"], "TypeError")
        self.assertEqual(program.ask("merge", "untyped", parts=["5", None])["value"], ["5", None])


class Cancelling(ProgramTest):
    TASKS = """
        import asyncio, gc, time
        import offload

        def note(text):
            print(text, flush=True)
        def loop():
            note("begun")
            try:
                n = 0  # Python 3.11 skips the finally of a loop that is first in its try
                while True: n += 1
            finally: note("finally")
        def sleep():
            note("begun")
            time.sleep(60)
        def stubborn():
            note("begun")
            count = 0
            while count < 3:
                try:
                    time.sleep(60)
                except:
                    count += 1
                    note("swallowed")
            time.sleep(60)
        def enough():
            note("begun")
            try: time.sleep(60)
            except offload.Cancelled: return "as far as it came"
        def asks():
            note("begun")
            try: time.sleep(60)
            except offload.Cancelled: return offload.cancelled()
        def other():
            note("begun")
            try: time.sleep(60)
            finally: raise ValueError("while it ended")
        def exceptions():
            note("begun")
            while True:
                try: time.sleep(60)
                except Exception: note("not this")
        async def coroutine():
            note("begun")
            try: await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.1)
                note("finally")
        def slow_end():
            note("begun")
            try: time.sleep(60)
            finally:
                for _ in range(10): time.sleep(0.01)
                note("finally")
        def keeps():
            note("begun")
            kept = []
            while len(kept) < 2:
                try: time.sleep(60)
                except offload.Cancelled as error: kept.append(error)
            note("swallowed")
            time.sleep(60)
        def generator():
            note("begun")
            try:
                while True:
                    time.sleep(0.001)
                    yield 1
            finally: note("finally")
        def reports():
            note("begun")
            n = 0
            while True:
                n += 1
                offload.progress(n % 100, 100)
        def polls():
            note("begun")
            while not offload.cancelled(): pass
            return "asked"
        def quick(n: int): return n
        sleep_itself = time.sleep
        def pause(s: float): sleep_itself(s)
        @offload.task
        def parts(n: int): return n
        @parts.split
        def _(n):
            note("begun")
            time.sleep(60)
        @parts.merge
        def _(parts):
            note("begun")
            time.sleep(60)
        """
    NAMES = (
        ":loop,sleep,stubborn,enough,asks,other,exceptions,coroutine,slow_end,keeps,generator,reports,polls,quick,"
        "pause,parts"
    )

    def begun(self, program, count=1):
        until(lambda: program.printed().count("begun") >= count, "the task has not begun")

    def cancel(self, program, call, seen=None):
        """As the host does it: the frame, and the signal until there is an answer."""
        program.send({"kind": "cancel", "call": call})
        stop = threading.Event()

        def poke():
            while not stop.is_set():
                program.signal()
                stop.wait(0.01)

        thread = threading.Thread(target=poke)
        thread.start()
        try:
            return program.answers(call, 1, seen)[0]
        finally:
            stop.set()
            thread.join()

    def test_each_way(self):
        program = self.start(self.TASKS, self.NAMES)
        cancelled = {"code": "cancelled", "detail": "the call was cancelled"}
        count = 0
        for name, expected in [
            ("loop", cancelled),
            ("sleep", cancelled),
            ("stubborn", cancelled),
            ("enough", "as far as it came"),
            ("asks", True),
            ("exceptions", cancelled),
            ("coroutine", cancelled),
            ("slow_end", cancelled),
            ("keeps", cancelled),
            ("generator", cancelled),
            ("reports", cancelled),
        ]:
            with self.subTest(name):
                count += 1
                call = program.begin(name, {})
                self.begun(program, count)
                answer = self.cancel(program, call, [])
                self.assertEqual(answer.get("error", answer.get("value")), expected)
        error = self.cancel_one(program, "other", count + 1)["error"]
        self.assertEqual((error["code"], error["exception"]), ("handler_failed", "ValueError"))
        self.assertEqual(program.printed().count("finally"), 4)
        self.assertEqual(program.printed().count("swallowed"), 4)
        self.assertNotIn("not this", program.printed())
        self.assertEqual(program.value("quick", n=1), 1)

    def cancel_one(self, program, name, count):
        call = program.begin(name, {})
        self.begun(program, count)
        return self.cancel(program, call)

    def test_plan_and_merge(self):
        program = self.start(self.TASKS, self.NAMES)
        both = [("plan", {"params": {"n": 1}, "chunks": 0}), ("merge", {"parts": [1]})]
        for count, (kind, members) in enumerate(both):
            call = program.next_call
            program.next_call += 1
            program.send({"kind": kind, "type": "parts", "call": call, **members})
            self.begun(program, count + 1)
            self.assertEqual(self.cancel(program, call)["error"]["code"], "cancelled")

    def test_without_the_signal(self):
        program = self.start(self.TASKS, self.NAMES)
        call = program.begin("polls", {})
        self.begun(program)
        program.send({"kind": "cancel", "call": call})
        self.assertEqual(program.answers(call, 1)[0]["value"], "asked")

    def test_calls_that_have_not_begun(self):
        """Some of a batch, and of the next one, are cancelled while the first one runs."""
        program = self.start(self.TASKS, self.NAMES)
        first = program.begin("pause", {"s": 60}, {"s": 0}, {"s": 60}, {"s": 0})
        second = program.begin("quick", {"n": 0}, {"n": 1}, {"n": 2})
        for call in (first + 2, second + 1, first):
            program.send({"kind": "cancel", "call": call})
        answers = []
        while len(answers) < 7:
            program.signal()
            if select.select([program.sock], [], [], 0.01)[0] or program.received:
                message = program.receive()
                answers += [{"value": v} for v in message["values"]] if "values" in message else [message]
        found = [a["error"]["code"] if "error" in a else a["value"] for a in answers]
        self.assertEqual(found, ["cancelled", None, "cancelled", None, 0, "cancelled", 2])

    def test_too_late(self):
        """A cancel for what is answered, and signals at any time, change nothing."""
        program = self.start(self.TASKS, self.NAMES)
        stop = threading.Event()

        def poke():
            while not stop.is_set():
                program.signal()

        thread = threading.Thread(target=poke)
        thread.start()
        try:
            for _ in range(60):
                call = program.begin("quick", *[{"n": n} for n in range(50)])
                answers = program.answers(call, 50)
                self.assertEqual([a.get("value", a) for a in answers], list(range(50)))
                program.send({"kind": "cancel", "call": call})
        finally:
            stop.set()
            thread.join()

    def test_storm(self):
        """Batches, each with a cancelled call at some place and time: every call has one answer, in order."""
        program = self.start(self.TASKS, self.NAMES)
        for i in range(150):
            call = program.begin("quick", *[{"n": n} for n in range(20)])
            program.send({"kind": "cancel", "call": call + i % 20})
            program.signal()
            for n, answer in enumerate(program.answers(call, 20)):
                if "error" in answer:
                    self.assertEqual((n, answer["error"]["code"]), (i % 20, "cancelled"))
                else:
                    self.assertEqual(answer["value"], n)
        self.assertEqual(program.printed(), "")


class End(ProgramTest):
    TASKS = """
        import atexit, threading, time
        def threads():
            threading.Thread(target=time.sleep, args=(600,)).start()
            print("a part of a line", end="")
            return 1
        def wait(): time.sleep(60)
        def die(code: int):
            import os
            os._exit(code)
        """

    def test_exit(self):
        program = self.start(self.TASKS, ":threads")
        self.assertEqual(program.value("threads"), 1)
        program.send({"kind": "exit"})
        self.assertIsNone(program.receive())
        self.assertEqual(program.wait(), 0)
        self.assertEqual(program.printed(), "a part of a line")

    def test_hang_up(self):
        program = self.start(self.TASKS, ":threads")
        program.value("threads")
        program.sock.close()
        self.assertEqual(program.wait(), 0)

    def test_hang_up_before_the_answer(self):
        program = self.start(self.TASKS, ":threads")
        program.begin("threads", {}, {}, {})
        program.sock.close()
        self.assertEqual(program.wait(), 0)
        self.assertNotIn("Traceback", program.printed())

    def test_signals(self):
        for name in ("", "wait"):
            program = self.start(self.TASKS, ":wait")
            if name:
                program.begin(name, {})
            program.signal(signal.SIGINT)
            program.signal(signal.SIGTERM)
            self.assertEqual(program.wait(), -signal.SIGTERM)

    def test_death(self):
        program = self.start(self.TASKS, ":die")
        program.begin("die", {"code": 7})
        self.assertIsNone(program.receive())
        self.assertEqual(program.wait(), 7)

    def test_garbage(self):
        for data in (b"\xff" * 8, struct.pack("<II", 2, 1) + b"{}x", struct.pack("<II", 2, 0) + b"[]",
                     struct.pack("<II", 2, 0) + b"{x", struct.pack("<II", 3, 0) + b'{"\xff'):
            program = self.start(self.TASKS, ":wait")
            program.sock.sendall(data)
            self.assertIsNone(program.receive())
            self.assertEqual(program.wait(), 1)
            self.assertIn("offload: the host has broken the protocol: a frame", program.printed())

    def test_the_host_ignores_signals(self):
        """The zygote ignores SIGTERM and blocks SIGCHLD; a program must not inherit that."""
        old = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGUSR1])
        try:
            program = self.start(self.TASKS, ":wait")
        finally:
            signal.signal(signal.SIGTERM, old)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with open(f"/proc/{program.process.pid}/status", encoding="ascii") as file:
            status = file.read()
        self.assertIn("SigBlk:\t0000000000000000", status)
        os.kill(program.process.pid, signal.SIGTERM)
        self.assertEqual(program.wait(), -signal.SIGTERM)


if __name__ == "__main__":
    unittest.main()
