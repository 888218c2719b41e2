"""Which rounds of a measurement count, and what a row makes of them. The clock and the CPUs are not looked at."""

import os
import sys
import threading
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
import measure  # noqa: E402 (the path is set just above)
from report import Row  # noqa: E402


def seen(*shares):
    """A measure.watched that says that others used these shares of the CPUs, one after the other."""
    left = iter(shares)

    def watched(work):
        share = next(left)
        return work(), share, share > measure.DISTURBED_SHARE
    return mock.patch.object(measure, "watched", watched)


class RoundsTest(unittest.TestCase):
    def setUp(self):
        self.calls = []
        for name, value in (("rounds", 2), ("busy", False)):
            patch = mock.patch.object(measure.settings, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def measure(self, number):
        self.calls.append(number)
        return len(self.calls)

    def test_quiet_rounds_count_once(self):
        with seen(0.01, 0.05):
            done = measure.rounds(self.measure)
        self.assertEqual((done.results, done.others, done.repeated, done.disturbed), ([1, 2], [0.01, 0.05], 0, 0))

    def test_a_disturbed_round_is_measured_again(self):
        with seen(0.2, 0.3, 0.04, 0.01):
            done = measure.rounds(self.measure)
        self.assertEqual(self.calls, [0, 0, 0, 1])
        self.assertEqual((done.results, done.others, done.repeated, done.disturbed), ([3, 4], [0.04, 0.01], 2, 0))

    def test_the_least_disturbed_one_counts_if_all_are(self):
        shares = [0.5, 0.3, 0.2, 0.4]
        self.assertEqual(len(shares), 1 + measure.REPEATS)
        with seen(*shares, 0.01):
            done = measure.rounds(self.measure)
        self.assertEqual((done.results, done.others, done.repeated, done.disturbed), ([3, 5], [0.2, 0.01], 3, 1))
        row = Row("a", "a", "ratio", done.results, ">= 4", done)
        self.assertEqual((row.others(), row.verdict()), ("20.0 %, 3 repeated, 1 of 2 DISTURBED", "met"))

    def test_nothing_is_repeated_on_a_busy_machine(self):
        measure.settings.busy = True
        with seen(0.5, 0.6):
            done = measure.rounds(self.measure)
        self.assertEqual((done.results, done.repeated, done.disturbed), ([1, 2], 0, 2))

    def test_a_wrong_answer_ends_it(self):
        def wrong(_):
            raise measure.Wrong
        with self.assertRaises(measure.Wrong):
            measure.rounds(wrong)

    def test_the_order_alternates(self):
        for number, order in ((0, "ab"), (1, "ba"), (2, "ab")):
            done = []
            results = measure.alternate(number, lambda: done.append("a") or 1, lambda: done.append("b") or 2)
            self.assertEqual(("".join(done), results), (order, (1, 2)))

    def test_a_process_has_the_time_of_all_its_threads_and_children(self):
        def work_for(ns):
            """Burns CPU time of the calling thread."""
            while time.clock_gettime_ns(time.CLOCK_THREAD_CPUTIME_ID) < ns:
                pass

        process, own = measure.cpu_ns([os.getpid()]), measure.own_cpu_ns()
        thread = threading.Thread(target=work_for, args=(20_000_000,))
        thread.start()
        thread.join()
        self.assertGreaterEqual(measure.cpu_ns([os.getpid()]) - process, 20_000_000)
        child = os.fork()
        if child == 0:
            work_for(50_000_000)
            os._exit(0)
        os.waitpid(child, 0)
        self.assertGreaterEqual(measure.own_cpu_ns() - own, 69_000_000)  # a ms less: the kernel rounds


if __name__ == "__main__":
    unittest.main(verbosity=0)
