"""The programs of examples/articles/ give the same results in each form, while a process of theirs is killed.

Each program runs as it was written, with the one import line of the drop-in, and with tasks over HTTP. The last two
lose a process in the middle of a call: it is killed when it burns CPU, and the service must have counted that.
"""

import contextlib
import difflib
import glob
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from daemon import OFFLOADD, PACKAGE, PATIENCE_S, ROOT, Daemon, until
from host import become_subreaper, interpreter_with

ARTICLES = os.path.join(ROOT, "examples", "articles")
RUNS = 5  # of a program, until the kill has hit a call
LOST = r'^offload_(chunk_retries_total\{cause="signal"\}|jobs_total\{type="call",status="failed"\}) [1-9]'
TICKS = 2  # of CPU time, since it was first seen: a process that has used so much is at work


def setUpModule():
    become_subreaper()  # what a program leaves behind becomes a child of this process
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # so an executor has two workers


def stat(pid):
    """Of a process: its state, its parent, its CPU time in ticks, and when it began. None: it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(") ")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[19])


def command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            return file.read().split("\0")
    except OSError:
        return [""]


def children(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def services(pid):
    """The offloadd processes that a script has started: (pid, where it listens)."""
    for child in children(pid):
        words = command(child)
        if os.path.basename(words[0]) == "offloadd" and "--listen" in words:
            yield child, words[words.index("--listen") + 1]


def program_processes(service):
    """What the zygote of a service has as children, without the workers, and without the template, which is the
    oldest."""
    for zygote in children(service):
        found = [(stat(child), child) for child in children(zygote) if not command(child)[0].startswith("offloadd:")]
        found = sorted((stats[3], child) for stats, child in found if stats)
        yield from (child for _, child in found[1:])


def ask(url, path):
    """What a service at a Unix socket answers. "": it is gone."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(PATIENCE_S)
    with contextlib.closing(connection):
        try:
            connection.sock.connect(url.partition(":")[2])
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""


class Killer:
    """Kills one program process of a service in the middle of a call.

    counted: the service has noticed. It counts a call that is lost, and tries it again or lets it fail, if it was the
    only one that the process had. If the process had several, they are sent again without more ado, but to another
    process: then there were more processes than workers.
    """

    def __init__(self):
        self.cpu_time = {}  # of each process when it was first seen
        self.killed = None
        self.counted = False

    def look(self, service, url):
        for pid in program_processes(service):
            now = stat(pid)
            if now is None:
                continue
            used = now[2] - self.cpu_time.setdefault(pid, now[2])
            if self.killed is None and now[0] == "R" and used >= TICKS:
                os.kill(pid, signal.SIGKILL)
                self.killed = pid
        if self.killed is not None and not self.counted:
            lost = re.search(LOST, ask(url, "/metrics"), re.MULTILINE)
            workers = ask(url, "/v1/workers").count('"lane":"main"')
            self.counted = lost is not None or len(self.cpu_time) > workers > 0


class Scripts(unittest.TestCase):
    maxDiff = None
    python = sys.executable

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="offload-")
        self.addCleanup(folder.cleanup)
        self.temporary = os.path.join(folder.name, "tmp")  # what the programs use
        self.folder = folder.name
        os.mkdir(self.temporary)

    def run_script(self, path, *args, service=None, killer=None):
        """Runs a script, and lets the killer look at its service. Returns what the script printed."""
        env = {**os.environ, "PYTHONPATH": PACKAGE, "PYTHONDONTWRITEBYTECODE": "1", "OFFLOADD": OFFLOADD}
        env["TMPDIR"] = self.temporary
        if service:
            env["OFFLOAD_URL"] = service.url
        printed = [os.path.join(self.folder, name) for name in ("stdout", "stderr")]
        with open(printed[0], "w", encoding="utf-8") as out, open(printed[1], "w", encoding="utf-8") as err:
            script = subprocess.Popen(
                [self.python, path, *args], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=self.folder
            )
        try:
            end = time.monotonic() + PATIENCE_S
            while script.poll() is None:
                if time.monotonic() > end:
                    raise TimeoutError(f"{path} runs and runs")
                for place in [(service.pid, service.url)] if service else services(script.pid):
                    if killer:
                        killer.look(*place)
                time.sleep(0.004)
        finally:
            if script.poll() is None:
                script.kill()
                script.wait()
        texts = []
        for name in printed:
            with open(name, encoding="utf-8") as file:
                texts.append(file.read())
        self.assertEqual((script.returncode, texts[1]), (0, ""), texts[0])
        return texts[0]

    def nothing_is_left(self):
        def no_child():
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return True
            return False

        until(no_child, f"these are left: {[command(pid) for pid in children(os.getpid())]}")
        self.assertEqual(os.listdir(self.temporary), [])


class Articles(Scripts):
    def run_with_a_kill(self, run):
        """Calls run(killer) until the kill has hit a call, which it does at once, unless the machine is very busy."""
        for _ in range(RUNS):
            killer = Killer()
            yield run(killer)
            self.nothing_is_left()
            if killer.counted:
                return
        self.fail(f"in {RUNS} runs no process was killed in the middle of a call")

    def result_of(self, text):
        (result,) = re.findall(r"^result: (.+)$", text, re.MULTILINE)
        return result

    def check(self, name, *args, needs="sys", prints=r"\Z"):
        """Compares the forms of a program. needs: modules that it imports. prints: what is in each output."""
        self.python = interpreter_with(needs)
        if self.python is None:
            self.skipTest(f"no Python here can import {needs}")
        (folder,) = glob.glob(os.path.join(ARTICLES, name))
        original, drop_in, over_http, tasks = (
            os.path.join(folder, file + ".py") for file in ("original", "drop_in", "over_http", "tasks")
        )
        self.one_import_differs(original, drop_in)

        text = self.run_script(original, *args)
        self.assertRegex(text, prints)
        expected = self.result_of(text)
        self.nothing_is_left()

        def run_over_http(killer):
            # Nothing on the express lane: there are no more processes than workers of the main lane.
            options = ("--workers", "2", "--express-cost", "0", "--python", tasks, "--python-bin", self.python)
            with Daemon(*options, unix=True) as service:
                text = self.run_script(over_http, *args, service=service, killer=killer)
                killer.look(service.pid, service.url)
            return text

        forms = {
            "drop_in": lambda killer: self.run_script(drop_in, *args, killer=killer),
            "over_http": run_over_http,
        }
        for form, run in forms.items():
            with self.subTest(form):
                for text in self.run_with_a_kill(run):
                    self.assertEqual(self.result_of(text), expected)
                    self.assertRegex(text, prints)

    def one_import_differs(self, original, drop_in):
        texts = []
        for path in (original, drop_in):
            with open(path, encoding="utf-8") as file:
                texts.append(file.read().splitlines())
        changes = [line for line in difflib.ndiff(*texts) if line[0] in "+-"]
        self.assertEqual([line[0] for line in changes], ["-", "+"])
        self.assertRegex(changes[0], r"\A- from (concurrent\.futures|multiprocessing) import [\w, ]+\Z")
        self.assertRegex(changes[1], r"\A\+ from offload(\.multiprocessing)? import [\w, ]+\Z")

    def test_1_process_queue(self):
        self.check("1_*", "120000")

    def test_2_chunks(self):
        self.check("2_*", "200000", prints="the results are equal")

    def test_3_pool_map(self):
        self.check("3_*", prints="8392 primes")

    def test_4_asyncio(self):
        self.check("4_*", "500", prints=r"The loop ticked [1-9]\d* times")

    def test_5_shared_memory(self):
        self.check("5_*", "2000000", needs="numpy")

    def test_6_starmap(self):
        self.check("6_*", "200", needs="PIL")

    def test_7_uneven(self):
        self.check("7_*", "500")

    def test_8_one_line(self):
        self.check("8_*", "5000000")


class ComingFrom(Scripts):
    """The blocks of docs/coming-from.md print what their comments say."""

    def test_each_block(self):
        with open(os.path.join(ROOT, "docs", "coming-from.md"), encoding="utf-8") as file:
            blocks = re.findall(r"^```(python|diff)\n(?:# ([^\n]+)\n)?(.*?)^```", file.read(), re.MULTILINE | re.DOTALL)
        before = tasks = ""
        for language, name, text in blocks:
            with self.subTest(name=name, text=text):
                if language == "diff":
                    removed, added = re.fullmatch(r"-(.+\n)\+(.+\n)", text).groups()
                    self.assertIn(removed, before)
                    self.prints(before.replace(removed, added))
                elif name == "before.py":
                    before = text
                    self.prints(text)
                elif name == "tasks.py":
                    tasks = text
                elif name == "client.py":
                    with Daemon("--workers", "2", tasks=tasks) as service:
                        with open(os.path.join(self.folder, "tasks.py"), "w", encoding="utf-8") as file:
                            file.write(tasks)
                        self.prints(text.replace("http://127.0.0.1:8080", service.url), service)
                else:
                    self.assertTrue(name.startswith("celery: "), name)
                    compile(text, name, "exec")
        self.assertGreater(len(blocks), 10)

    def prints(self, text, service=None):
        path = os.path.join(self.folder, "script.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        said = re.findall(r"^ *print\(.*\) +# (.+)$", text, re.MULTILINE)
        self.assertTrue(said)
        self.assertEqual(self.run_script(path, service=service).splitlines(), said)
        if service is None:
            self.nothing_is_left()


if __name__ == "__main__":
    unittest.main()
