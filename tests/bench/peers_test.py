"""bench/peers: what the peers in Python compute, what is said of a peer that cannot be had, the order and the ratios, and
that no process is left. No peer is installed or started."""

import importlib.machinery
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import threading
import unittest
from unittest import mock

sys.dont_write_bytecode = True
BENCH = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
sys.path[:0] = [BENCH, os.path.join(BENCH, "peers")]
import contest  # noqa: E402 (the path is set just above)
import jobs  # noqa: E402
import measure  # noqa: E402
import peers  # noqa: E402


def load_run():
    """bench/peers/run as a module; its name has no .py."""
    loader = importlib.machinery.SourceFileLoader("peers_run", os.path.join(BENCH, "peers", "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


run = load_run()


class JobsTest(unittest.TestCase):
    def test_primes_are_counted_in_any_pieces(self):
        self.assertEqual([jobs.primes(0, n) for n in (0, 1, 2, 3, 4, 5, 6, 10, 26, 1000)], [0, 0, 0, 1, 2, 2, 3, 4, 9, 168])
        self.assertEqual(jobs.primes(10**12, 10**12 + 1000), 37)
        bounds = sorted(random.Random(1).sample(range(100_001), 50))
        self.assertEqual(sum(jobs.primes(a, b) for a, b in zip([0, *bounds], [*bounds, 100_000 + 1])), 9592)

    def test_parts_and_pieces_are_the_whole_range(self):
        for ranges in (jobs.parts(3, 1_000_003, 7), list(jobs.pieces(3, 2 * jobs.PIECE + 4))):
            self.assertEqual(ranges[0][0], 3)
            self.assertTrue(all(a[1] == b[0] for a, b in zip(ranges, ranges[1:])))
        self.assertEqual((len(jobs.parts(0, 100, 7)), jobs.parts(0, 100, 7)[-1][1]), (7, 100))
        self.assertEqual(ranges[-1], (3 + 2 * jobs.PIECE, 2 * jobs.PIECE + 4))
        self.assertEqual(sum(jobs.squares(*part) for part in jobs.parts(0, 100_000, 4)), 333328333350000)

    def test_each_item_goes_to_one_thread(self):
        shared, taken = jobs.Shared(iter(range(10_000))), []
        threads = [threading.Thread(target=lambda: taken.extend(shared)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(taken), list(range(10_000)))


class PeersTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.scratch = directory.name
        for patch in (mock.patch.object(peers, "SCRATCH", self.scratch), mock.patch("builtins.print")):
            patch.start()
            self.addCleanup(patch.stop)

    def test_it_is_said_why_a_peer_is_not_available(self):
        with mock.patch.object(peers, "run", side_effect=peers.Unavailable("deps.sh failed")), \
                self.assertRaisesRegex(peers.Unavailable, "no-such-program is missing.* no-such-package"):
            peers.program("no-such-program", "no-such-package")
        for output, reason in (("first\\nthe reason", "failed: the reason$"),
                               ("first\\nERROR: the reason\\nlast", "failed: ERROR: the reason$"),
                               ("no http://127.0.0.1/x here", r"failed: no \(address\) here$")):
            with self.assertRaisesRegex(peers.Unavailable, reason):
                peers.run("sh", "-c", f"printf '{output}' >&2; exit 3")
        with self.assertRaisesRegex(peers.Unavailable, "Node 20.0 or newer is needed; here is 18.19"):
            peers.not_older("Node", peers.version("v18.19.1"), peers.OLDEST_NODE)
        peers.not_older("Go", peers.version("go version go1.19.8 linux/amd64"), peers.OLDEST_GO)

    def test_what_is_there_is_not_installed_again(self):
        done = []
        for wanted in ("a", "a", "b"):
            peers.once("name", wanted, lambda: done.append(wanted))
        self.assertEqual(done, ["a", "b"])
        for _ in range(2):  # what failed is tried again
            with self.assertRaises(peers.Unavailable):
                peers.once("other", "a", mock.Mock(side_effect=peers.Unavailable("no")))

    def test_a_peer_that_does_not_start_is_not_available(self):
        broken = peers.Peer("x", "X", None, lambda *_: [peers.Command(["sh", "-c", "echo why >&2; exit 1"])])
        with self.assertRaisesRegex(peers.Unavailable, "it did not start: why"):
            contest.try_it(broken)


class RunTest(unittest.TestCase):
    def setUp(self):
        for patch in (mock.patch.object(measure.settings, "rounds", 3), mock.patch("builtins.print"),
                      mock.patch.object(measure, "watched", lambda work: (work(), 0.01, False))):
            patch.start()
            self.addCleanup(patch.stop)

    def test_each_round_has_all_in_another_order_and_its_own_ratios(self):
        order, rounds = [], {"offload": [2, 4, 8], "go": [1, 4, 16], "executor": [1, 1, 1]}
        there = [p for p in peers.PEERS if p.name in rounds]

        def run_once(c):
            order.append(c.name)
            value = rounds[c.name][order.count(c.name) - 1]
            return {metric: value for metric in run.METRICS if c.http or "health" not in metric}

        with mock.patch.object(contest, "run_once", run_once):
            done = run.measured([contest.OFFLOAD, *there])
        self.assertEqual(order, ["offload", "go", "executor", "go", "executor", "offload", "executor", "offload", "go"])
        rows = [row for peer in there for row in run.rows_of(peer, done, {})]
        self.assertEqual({row.name: row.values for row in rows if row.name.endswith("sum_ms")},
                         {"go_sum_ms": [0.5, 1, 2], "executor_sum_ms": [0.5, 0.25, 0.125]})
        self.assertEqual(len(rows), 2 * len(run.METRICS) - 1)  # there is no health without HTTP
        self.assertTrue(all(len(row.what.split(" / offloadd, ")) == 2 for row in rows))  # bench/page takes it to pieces

    def test_a_missing_peer_is_in_the_table(self):
        celery = next(p for p in peers.PEERS if p.name == "celery")
        rows = list(run.rows_of(celery, {}, {"celery": "no Redis"}))
        self.assertEqual({row.measured() for row in rows}, {"skipped: not available: no Redis"})
        self.assertEqual(len(rows), len(run.METRICS))


class EndTest(unittest.TestCase):
    def test_nothing_is_left(self):
        measure.adopt_orphans()
        # A parent that starts anew what has ended, and a child in a session of its own that does not wish to end.
        script = "trap '' TERM INT; while :; do setsid sh -c 'trap \"\" TERM INT; sleep 600 & wait' & wait; done"
        with subprocess.Popen(["sh", "-c", script], start_new_session=True):
            measure.wait_until(lambda: len(measure.descendants(os.getpid())) >= 3, "three processes run")
            contest.end_all()
            self.assertEqual(measure.descendants(os.getpid()), [])


if __name__ == "__main__":
    unittest.main()
