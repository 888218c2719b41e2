"""Functions for the tests of the executor. The processes import this module."""

import faulthandler
import functools
import os
import pickle
import signal
import time

PATIENCE_S = 60


def mul(x, y):
    return x * y


def capture(*args, **kwargs):
    return args, kwargs


def identity(value):
    return value


def touch(path):
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")


def touch_and_return(path, value=None):
    touch(path)
    return value


def wait_for(path, value=None):
    """Returns when there is such a file."""
    end = time.monotonic() + PATIENCE_S
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.005)
    return value


def block(path, value=None):
    """The same. It is never taken for a short call."""
    time.sleep(0.06)
    return wait_for(path, value)


def touch_late(path):
    """Is never taken for a short call."""
    time.sleep(0.06)
    touch(path)


def begin_and_wait(begun, go, value=None):
    """Says by a file that it has begun, and waits for another one."""
    touch(begun)
    return wait_for(go, value)


def wait_and_fail(path):
    wait_for(path)
    raise ValueError("as wanted")


def fail(number=123):
    raise RuntimeError(number)  # this comment is in the traceback


def raise_it(kind):
    raise kind("as wanted")


class Thing:
    """An object that bears weak references."""

    def __init__(self, number=0):
        self.number = number

    def method(self):
        return self.number

    def __call__(self, more):
        return self.number + more


class TwoArguments(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)
        self.one, self.two = one, two


def fail_twice(one, two):
    raise TwoArguments(one, two)


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_self_once(path):
    """The first time, its process dies."""
    if not os.path.exists(path):
        touch(path)
        kill_self()
    return os.getpid()


def tiny_or_die(number, deadly):
    if number == deadly:
        kill_self()
    return number


def crash(data=None):
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)


# What is wrong when it is pickled or unpickled. `call` is a function and its arguments.


class AtPickle:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0](*self.call[1:])


class AtUnpickle:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def refuse_to_pickle():
    raise pickle.PicklingError("it does not want to")


def refuse_to_unpickle():
    raise pickle.UnpicklingError("it does not want to")


def leave():
    raise SystemExit(1)


def make(kind, *call):
    return kind(*call)


state = "as imported"


def set_state(value):
    global state
    state = value


def get_state():
    return state


def fail_to_initialize():
    raise ValueError("error in initializer")


def grow(limit, number):
    """A short call, except that of one number."""
    if number == limit:
        time.sleep(PATIENCE_S)
    return number


twice = functools.partial(mul, 2)
