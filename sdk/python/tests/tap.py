#!/usr/bin/env python3
"""tap.py FILE...: runs the tests of these files, and prints the Test Anything Protocol. Exits with 1 if one fails."""

import importlib.util
import os
import sys
import traceback
import unittest

sys.dont_write_bytecode = True  # the source tree stays as it is


class Tap(unittest.TestResult):
    """Counts what a test says (its subtests, too), and prints a line when it ends."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self.faults = []
        self.skipped_because = None

    def startTest(self, test):
        super().startTest(test)
        self.faults, self.skipped_because = [], None

    def fault(self, test, error):
        self.faults.append(f"{test}\n" + "".join(traceback.format_exception(*error)))

    def addError(self, test, error):
        super().addError(test, error)
        self.fault(test, error)
        if not isinstance(test, unittest.TestCase):  # setUpClass
            self.line(str(test))

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.fault(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.fault(subtest, error)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.skipped_because = reason

    def stopTest(self, test):
        super().stopTest(test)
        self.line(f"{type(test).__name__}.{test._testMethodName}")

    def line(self, name):
        self.number += 1
        skip = f" # skip {self.skipped_because}" if self.skipped_because and not self.faults else ""
        print(f"{'not ok' if self.faults else 'ok'} {self.number} - {name}{skip}", flush=True)
        for fault in self.faults:
            print("#   " + fault.rstrip().replace("\n", "\n#   "), flush=True)


def main():
    result = Tap()
    for path in sys.argv[1:]:
        sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
        name = os.path.splitext(os.path.basename(path))[0]
        unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(name)).run(result)
    print(f"1..{result.number}")
    return 0 if result.wasSuccessful() and result.number > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
