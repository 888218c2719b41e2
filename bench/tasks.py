"""The functions that bench/rows/python.py has run, by the service and by Python's own pools alike. They are served as they
are: `offloadd --python bench/tasks.py:tiny,is_prime,...`."""

import os
import time


def tiny(n: int) -> int:
    return n + 1


def is_prime(n: int) -> bool:
    if n % 2 == 0:
        return n == 2
    i = 3
    while i * i <= n:
        if n % i == 0:
            return False
        i += 2
    return n > 1


def sum_of_100(n: int) -> int:
    return n + sum(range(100))


def pid_of_first(path: str) -> int:
    """The first call writes its process into the file, and waits to be killed. The next one returns."""
    if os.path.exists(path):
        return os.getpid()
    with open(path + ".part", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".part", path)
    time.sleep(300)
    return 0


def doubled(array):
    return array * 2
