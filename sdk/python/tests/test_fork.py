"""Templates: forking, what a child has, and the deaths of each process."""

import os
import signal
import socket
import tempfile
import threading
import time
import unittest

from host import Conversation, Program, ProgramTest, become_subreaper, until

TASKS = """
import os, random, sys, threading, time, warnings
import offload

loaded = os.getpid()
print("loaded", loaded)
print("half of a line", end="")

@offload.task
def where():
    print("in", os.getpid())
    print("error of", os.getpid(), file=sys.stderr)
    return [loaded, os.getpid(), os.getppid()]

@offload.task
def draw():
    return random.random()

@offload.task
def spin():
    print("begun", flush=True)
    while True: pass

@offload.task
def sleep_in_c():
    "A process in C code, which no signal handler of Python interrupts."
    import ctypes
    print("begun", flush=True)
    ctypes.CDLL(None).sleep(600)

@offload.task
def sockets():
    "How many sockets this process has, and how many descriptors that a child would inherit."
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if fd not in "012"
             and os.path.lexists(f"/proc/self/fd/{fd}")]
    inherited = [fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2 and os.path.lexists(f"/proc/self/fd/{fd}")
                 and os.get_inheritable(int(fd))]
    return [sum(link.startswith("socket:") for link in links), len(inherited)]

@offload.task
def frozen():
    import gc
    return gc.get_freeze_count() > 1000

@offload.task
def children():
    "A thread and a process of its own, as in any program."
    import subprocess
    thread = threading.Thread(target=time.sleep, args=(0.001,))
    thread.start()
    thread.join()
    return subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout
"""


class Child(Conversation):
    """A program process that was forked from a template."""

    def __init__(self, template, parent=None):
        ours, theirs = socket.socketpair()
        super().__init__(ours)
        self.output = tempfile.TemporaryFile("a+")
        message = {"kind": "fork", "parent": os.getpid() if parent is None else parent}
        template.send(message, [theirs.fileno(), self.output.fileno()])
        theirs.close()
        self.forked = template.receive()
        self.pid = self.forked.get("pid")
        self.hello = self.receive()

    def printed(self):
        self.output.seek(0)
        return self.output.read()

    def status(self):
        """How it ended. It is our child, since we are a subreaper."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        raise TimeoutError("the child has not ended")

    def close(self):
        self.sock.close()
        self.output.close()


class Forking(ProgramTest):
    @classmethod
    def setUpClass(cls):
        become_subreaper()

    def child(self, template, **options):
        child = Child(template, **options)
        self.addCleanup(child.close)
        return child

    def template(self, text=TASKS, names="", **options):
        template = self.start(text, names, **{"start": "", **options})
        self.assertTrue(template.hello["fork"], template.hello)
        return template

    def test_children(self):
        template = self.template()
        children = [self.child(template) for _ in range(3)]
        for child in children:
            about = {"kind": "hello", "protocol": 1, "fork": False, "cancel_signal": 10, "binary": True, "fds": True}
            self.assertEqual(child.hello, about)
            self.assertEqual(child.forked, {"kind": "forked", "pid": child.pid})
            self.assertEqual(child.value("where"), [template.process.pid, child.pid, os.getpid()])
            self.assertEqual(child.printed().splitlines(), [f"in {child.pid}", f"error of {child.pid}"])
            self.assertEqual(child.value("sockets"), [1, 0])
            self.assertEqual(os.getpgid(child.pid), child.pid)
            self.assertTrue(child.value("frozen"))
            self.assertEqual(child.value("children"), "hello\n")
        self.assertEqual(len({child.value("draw") for child in children}), 3)
        self.assertEqual(template.printed(), f"loaded {template.process.pid}\nhalf of a line")
        # The processes in between are gone, and the template keeps none of the descriptors.
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            ours = {int(pid) for pid in file.read().split()}
        self.assertTrue({child.pid for child in children} <= ours)
        with open(f"/proc/{template.process.pid}/task/{template.process.pid}/children", encoding="ascii") as file:
            self.assertEqual(file.read(), "")
        descriptors = len(os.listdir(f"/proc/{template.process.pid}/fd"))
        self.child(template)
        self.assertEqual(len(os.listdir(f"/proc/{template.process.pid}/fd")), descriptors)
        for child in children:
            child.send({"kind": "exit"})
            self.assertEqual(child.status(), 0)

    def test_a_child_dies(self):
        template = self.template()
        child, other = self.child(template), self.child(template)
        child.begin("spin", {})
        until(lambda: "begun" in child.printed(), "the task has not begun")
        os.kill(child.pid, signal.SIGKILL)
        self.assertIsNone(child.receive())
        self.assertEqual(child.status(), -signal.SIGKILL)
        self.assertEqual(other.value("where")[1], other.pid)
        self.assertEqual(self.child(template).hello["protocol"], 1)
        other.sock.close()  # and one whose host hangs up
        self.assertEqual(other.status(), 0)

    def test_the_template_dies(self):
        template = self.template()
        child = self.child(template)
        template.process.kill()
        template.wait()
        self.assertEqual(child.value("where")[1:], [child.pid, os.getpid()])

    def test_the_template_ends(self):
        template = self.template()
        child = self.child(template)
        template.send({"kind": "exit"})
        self.assertIsNone(template.receive())
        self.assertEqual(template.wait(), 0)
        self.assertEqual(child.value("where")[1], child.pid)

    def test_the_parent_dies(self):
        """The child of a parent that is killed dies, too, stuck in C code or not."""
        template = self.template()
        for name in ("sleep_in_c", "spin", ""):
            ready, done = os.pipe(), os.pipe()
            parent = os.fork()
            if parent == 0:  # what the zygote is: it starts a template, and adopts what is forked there
                try:
                    become_subreaper()
                    mine = Program("tasks.py", cwd=self.folder, start="")
                    child = Child(mine)
                    if name:
                        child.begin(name, {})
                        until(lambda: "begun" in child.printed(), "the task has not begun")
                    os.write(ready[1], str(child.pid).encode())
                    os.read(done[0], 1)
                finally:
                    os._exit(1)
            pid = int(os.read(ready[0], 20))
            os.kill(parent, signal.SIGKILL)
            os.waitpid(parent, 0)
            # One that is idle can see the end of its stream first.
            ends = (-signal.SIGKILL,) if name else (-signal.SIGKILL, 0)
            self.assertIn(os.waitstatus_to_exitcode(self.reap(pid)), ends)
            for descriptor in (*ready, *done):
                os.close(descriptor)
        template.send({"kind": "exit"})

    def reap(self, pid):
        """Reaps it, and what else was orphaned. Returns its status."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found == pid:
                return status
            time.sleep(0.005)
        raise TimeoutError("it has not ended")

    def test_another_parent(self):
        """The one who should adopt it does not: then it must not live, since nothing would end it."""
        template = self.template()
        child = self.child(template, parent=1)
        self.assertIsNone(child.hello)
        self.assertEqual(child.status(), 1)
        self.assertEqual(child.printed().strip(), "")

    def test_wrong_messages(self):
        template = self.template()
        template.send({"kind": "fork", "parent": os.getpid()})
        self.assertEqual(
            template.receive(), {"kind": "forked", "error": "the message came with 0 descriptors, not with 2"}
        )
        self.assertIsNotNone(self.child(template).hello)
        program = self.start(TASKS)
        program.send({"kind": "fork", "parent": os.getpid()})
        self.assertEqual(program.receive(), {"kind": "forked", "error": "this program said that it cannot be forked"})

    def test_two_at_once(self):
        """Frames that come together, each with its descriptors."""
        template = self.template()
        pairs = [socket.socketpair() for _ in range(3)]
        with open(os.devnull, "wb") as null:
            for _, theirs in pairs:
                template.send({"kind": "fork", "parent": os.getpid()}, [theirs.fileno(), null.fileno()])
        pids = [template.receive()["pid"] for _ in pairs]
        for pid, (ours, theirs) in zip(pids, pairs):
            theirs.close()
            conversation = Conversation(ours)
            self.assertEqual(conversation.receive()["kind"], "hello")
            self.assertEqual(conversation.value("where")[1], pid)
            ours.close()

    def test_cancel_in_a_child(self):
        template = self.template()
        child = self.child(template)
        call = child.begin("spin", {})
        until(lambda: "begun" in child.printed(), "the task has not begun")
        child.send({"kind": "cancel", "call": call})
        stop = threading.Event()

        def poke():
            while not stop.wait(0.01):
                os.kill(child.pid, signal.SIGUSR1)

        thread = threading.Thread(target=poke)
        thread.start()
        answer = child.answers(call, 1)[0]
        stop.set()
        thread.join()
        self.assertEqual(answer["error"]["code"], "cancelled")
        self.assertEqual(child.value("where")[1], child.pid)

    def test_hooks(self):
        """os.register_at_fork: for libraries that have to do something."""
        template = self.template(
            "import os\nstate = []\nos.register_at_fork(after_in_child=lambda: state.append(os.getpid()))\n"
            "def get(): return state",
            ":get",
        )
        child = self.child(template)
        self.assertEqual(child.value("get")[-1], child.pid)

    def test_whether_it_can_be_forked(self):
        threads = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        plain = "def f(): pass\n"
        for text, start, fork, reason in [
            (plain, "", True, None),
            (plain, "spawn", False, "OFFLOAD_START is spawn"),
            (plain, "fork", True, None),
            (threads + plain, "", False, "it has 2 threads after it was imported"),
            (threads + plain, "fork", True, None),
            (threads + plain, "spawn", False, "OFFLOAD_START is spawn"),
        ]:
            program = self.start(text, ":f", start=start)
            self.assertEqual((program.hello["fork"], program.hello.get("fork_reason")), (fork, reason))
            self.assertIsNone(program.value("f"))  # a template answers calls, too


if __name__ == "__main__":
    unittest.main()
