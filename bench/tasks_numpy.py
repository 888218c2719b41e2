"""A task whose module imports numpy, for bench/rows/python.py: how much memory does each further worker take?"""

import numpy


def mean(values: list) -> float:
    return float(numpy.mean(values))
