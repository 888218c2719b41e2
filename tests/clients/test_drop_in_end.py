"""However a script with a drop-in executor ends: no process and no directory is left."""

import contextlib
import os
import signal
import subprocess
import unittest

from scripts import Script, descendants

# Each call says that it has begun; `long` ones only end by being killed.
SCRIPT = """
import offload

if __name__ != "__main__" and "slow-import" in sys.argv:
    say("importing")
    time.sleep(600)

def short(n):
    say("began", os.getpid())
    time.sleep(0.05)
    return n

def long(data=b""):
    say("began", os.getpid())
    time.sleep(600)

if __name__ == "__main__":
    executor = offload.Executor(2)
    how = sys.argv[1]
    if how in ("exception", "exit", "forgotten"):
        futures = [executor.submit(short, n) for n in range(5)]
    else:
        futures = [executor.submit(long, bytes(1 << 20)) for n in range(5)]
    if how == "fork" and os.fork() == 0:
        say("child", os.getpid())
        time.sleep(600)
    if how == "exception":
        raise ValueError("as wanted")
    elif how == "exit":
        sys.exit(3)
    elif how == "os._exit":
        while not os.path.exists("go"):
            time.sleep(0.01)
        os._exit(4)
    elif how == "interrupt":
        with executor:
            time.sleep(600)
    elif how != "forgotten":
        time.sleep(600)
"""


class End(unittest.TestCase):
    def ends(self, how, status, stop=None, word="began"):
        with Script(SCRIPT, how) as script:
            script.said(word)
            script.go()
            if stop is not None:
                os.kill(script.process.pid, stop)
            self.assertEqual(script.wait(), status, script.output)
            script.leaves_nothing()
            return script.output

    def test_exception(self):
        output = self.ends("exception", 1)
        self.assertIn("ValueError: as wanted", output)
        self.assertEqual(output.count("began"), 5)

    def test_sys_exit(self):
        self.assertEqual(self.ends("exit", 3).count("began"), 5)

    def test_end_without_shutdown(self):
        self.assertEqual(self.ends("forgotten", 0).count("began"), 5)

    def test_os_exit(self):
        self.ends("os._exit", 4)

    def test_sigkill_while_calls_run(self):
        self.ends("wait", -signal.SIGKILL, signal.SIGKILL)

    def test_sigterm_while_calls_run(self):
        self.ends("wait", -signal.SIGTERM, signal.SIGTERM)

    def test_sigint_while_calls_run(self):
        output = self.ends("interrupt", -signal.SIGINT, signal.SIGINT)
        self.assertIn("KeyboardInterrupt", output)

    def test_sigkill_before_the_service_is_ready(self):
        self.ends("slow-import", -signal.SIGKILL, signal.SIGKILL, "importing")

    def test_sigkill_with_a_forked_child_that_lives_on(self):
        with Script(SCRIPT, "fork") as script:
            child = int(script.said("child")[0])
            script.said("began")
            self.assertGreater(len(descendants(script.process.pid)), 3)
            script.process.kill()
            script.wait()
            script.leaves_nothing(but=[child])
            os.kill(child, signal.SIGKILL)
            script.leaves_nothing()

    def test_sigkill_at_any_time(self):
        """After so many milliseconds of its start, wherever it is then."""
        for step in range(8):
            with self.subTest(step=step), Script(SCRIPT, "wait") as script:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    script.process.wait(0.04 * step)
                script.process.kill()
                script.leaves_nothing()


if __name__ == "__main__":
    unittest.main()
