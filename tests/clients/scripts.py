"""Scripts that use the drop-in executor, as processes of their own, and what they leave behind."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap

from daemon import OFFLOADD, PACKAGE, PATIENCE_S, until

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """Descendants whose parents have died become children of this process, so that none of them is overlooked."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("prctl")


def parents():
    """{pid: its parent} of all processes that are no zombies."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    state, parent = file.read().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                found[int(name)] = int(parent)
    return found


def descendants(pid):
    all_parents = parents()
    found, added = set(), {pid}
    while added:
        added = {child for child, parent in all_parents.items() if parent in added} - found
        found |= added
    return found


def name_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            return file.read().replace("\0", " ")
    except OSError:
        return ""


class Script:
    """with Script(TEXT, "argument") as script: a script that runs, in a directory of its own.

    Its temporary files are in `temporary`, so that what it leaves can be seen. `output` is what it and its functions
    have printed so far. In TEXT, `say` prints a word, and the test waits for it by `said`; `memfds` are what is open.
    """

    HEAD = """\
    import os, signal, sys, threading, time
    def say(*words):
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())
    def memfds():
        paths = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        return [path for path in paths if "memfd" in path]
    """

    def __init__(self, text, *arguments, python=None, how=(), files=(), offloadd=OFFLOADD, environment=()):
        adopt_orphans()
        self.folder = tempfile.mkdtemp(prefix="offload-test-")
        self.temporary = os.path.join(self.folder, "tmp")
        self.log = os.path.join(self.folder, "log")
        os.mkdir(self.temporary)
        text = textwrap.dedent(self.HEAD) + textwrap.dedent(text)
        for name, content in [("script.py", text), *files]:
            path = os.path.join(self.folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(content))
        self.text = text
        self.command = [python or sys.executable, *(how or ["script.py"]), *map(str, arguments)]
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OFFLOAD")},
            "PYTHONPATH": PACKAGE,
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": self.temporary,
            **({"OFFLOADD": offloadd} if offloadd else {}),
            **dict(environment),
        }

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, *error):
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def words(self):
        return [line.split() for line in self.output.splitlines()]

    def said(self, word):
        """Waits until the script has said it. Returns the other words of that line."""

        def found():
            for line in self.words():
                if line[:1] == [word]:
                    return line
            if self.process.poll() is not None and [word] not in [line[:1] for line in self.words()]:
                raise AssertionError(f"it has ended ({self.process.returncode}) without saying {word}:\n{self.output}")
            return None

        return until(found, f"the script does not say {word}")[1:]

    def go(self):
        """Tells the script, which waits for a file of that name."""
        with open(os.path.join(self.folder, "go"), "w", encoding="utf-8"):
            pass

    def offloadd(self):
        """The pid of its service."""
        found = [pid for pid in descendants(self.process.pid) if name_of(pid).startswith(OFFLOADD)]
        return found[0] if found else None

    def wait(self):
        """Its exit status, when it has ended."""
        return self.process.wait(PATIENCE_S)

    def leaves_nothing(self, but=()):
        """Waits until none of its processes is there, but those, and its directory for temporary files is empty."""

        def gone():
            while True:
                try:
                    if os.waitpid(-1, os.WNOHANG)[0] == 0:
                        break
                except ChildProcessError:
                    break
            left = descendants(os.getpid()) - set(but)
            return not left and not os.listdir(self.temporary)

        self.wait()
        try:
            until(gone, "")
        except TimeoutError:
            left = [f"{pid} {name_of(pid)}" for pid in descendants(os.getpid())]
            raise AssertionError(f"left: {left} {os.listdir(self.temporary)}\n{self.output}") from None
