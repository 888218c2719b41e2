"""Tasks whose module imports numpy, for bench/rows/python.py (how much memory does each further worker take?) and
bench/rows/data.py."""

from multiprocessing import shared_memory

import numpy


def mean(values: list) -> float:
    return float(numpy.mean(values))


def double(array: numpy.ndarray) -> numpy.ndarray:
    return array * 2


def double_shared(name: str, numbers: int) -> None:
    """The same by hand, in memory that both processes have."""
    memory = shared_memory.SharedMemory(name)
    array = numpy.ndarray((numbers,), numpy.float64, memory.buf)
    array *= 2
    del array
    memory.close()
