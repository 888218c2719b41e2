"""offload.multiprocessing. Most scripts run twice, with the module and with its original, and must print the same."""

import signal
import unittest

from scripts import Script

IMPORT = "from offload import multiprocessing as mp"


class Multiprocessing(unittest.TestCase):
    def runs(self, text, *arguments):
        with Script(text, *arguments) as script:
            status = script.wait()
            self.assertEqual(status, 0, script.output)
            script.leaves_nothing()
            return script.output

    def same(self, text):
        """Runs the script with offload, and with multiprocessing. Both print the same, line by line."""
        ours = self.runs(IMPORT + "\n" + text)
        with Script("import multiprocessing as mp\n" + text) as script:
            self.assertEqual(script.wait(), 0, script.output)
            self.assertEqual(sorted(ours.splitlines()), sorted(script.output.splitlines()))
        return ours

    def test_pool(self):
        self.same(
            """
def square(n): return n * n
def power(n, k=2): return n ** k
def fail(n):
    if n == 3: raise KeyError(n)
    return n
def slow(n):
    time.sleep(n)
    return n
def broken():
    yield 1
    raise ValueError("of the iterable")
def outcome(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"

if __name__ == "__main__":
    with mp.Pool(2) as pool:
        say(pool.map(square, range(30)), pool.map(square, range(7), 3))
        say(pool.map(square, []), pool.map(square, iter([4])))
        say(pool.starmap(power, [(2, 3), (3,)]), pool.starmap(power, []))
        say(pool.apply(power, (3,), {"k": 3}), pool.apply_async(power, (4,)).get())
        say(list(pool.imap(square, range(10))), list(pool.imap(square, range(10), chunksize=4)))
        say(sorted(pool.imap_unordered(square, range(10), 3)), list(pool.imap(square, [])))
        for f in (lambda: pool.map(fail, range(6)), lambda: pool.apply(fail, (3,)),
                  lambda: list(pool.imap(fail, range(6))),
                  lambda: list(pool.imap(square, broken())), lambda: pool.map(square, broken()),
                  lambda: pool.imap(square, [1], chunksize=0), lambda: pool.map(square, 5)):
            say(outcome(f))
        results = pool.imap(fail, range(6))
        say([outcome(next, results) for _ in range(7)])
        say(outcome(lambda: sorted(pool.imap_unordered(square, broken()))))
        told = []
        good = pool.apply_async(power, (5,), callback=told.append)
        good.wait()
        bad = pool.map_async(fail, range(9), error_callback=told.append)
        say(outcome(bad.get), good.successful(), bad.successful(), bad.ready(), told)
        late = pool.apply_async(slow, (1.5,))
        say(outcome(late.get, 0.01), outcome(late.successful) != "", late.ready())
        say(outcome(pool.imap(slow, [1.5]).next, 0.01))
        pool.close()
        say(outcome(pool.map, square, [1]))
        pool.join()
        say(late.get())
    pool = mp.Pool(processes=3)
    say(outcome(pool.join))
    pool.close()
    pool.join()
    say(outcome(pool.apply, square, (1,)), outcome(mp.Pool, 0), outcome(mp.Pool, 1, 5))
"""
        )

    def test_pool_initializer_and_maxtasksperchild(self):
        self.same(
            """
import collections
word = None
def prepare(*words):
    global word
    word = words
def look(_):
    time.sleep(0.02)
    return os.getpid(), word
if __name__ == "__main__":
    with mp.Pool(2, prepare, ("a", "b"), 3) as pool:
        found = pool.map(look, range(24), 1)
    counts = collections.Counter(pid for pid, _ in found)
    say({words for _, words in found}, max(counts.values()), len(counts) >= 8)
"""
        )

    def test_pool_whose_process_dies(self):
        output = self.runs(
            IMPORT
            + """
import offload
def die(n):
    if n == 5 and offload.attempt() == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return n
if __name__ == "__main__":
    with mp.Pool(2) as pool:
        say(pool.map(die, range(10), 2) == list(range(10)), list(pool.imap(die, range(10))) == list(range(10)))
"""
        )
        self.assertEqual(output, "True True\n")

    def test_pool_terminate(self):
        output = self.runs(
            IMPORT
            + """
def slow(n):
    say("began", n)
    time.sleep(600)
if __name__ == "__main__":
    with mp.Pool(2) as pool:
        result = pool.map_async(slow, range(8), 1)
        while "began" not in open("log").read():
            time.sleep(0.01)
    try:
        result.get()
    except Exception as error:
        say("terminated", type(error).__name__)
"""
        )
        self.assertIn("terminated", output)

    def test_process(self):
        self.same(
            """
def work(queue, n, word="none"):
    me = mp.current_process()
    queue.put((n, word, me.name, mp.parent_process().pid == int(sys.argv[-1]), me.daemon))
def fail(): raise ValueError("as wanted")
def leave(what): sys.exit(what)
def end(n): os._exit(n)
def die(): os.kill(os.getpid(), signal.SIGSEGV)
def sleep(): time.sleep(600)
class Own(mp.Process):
    def __init__(self, queue):
        super().__init__(name="own")
        self.queue = queue
    def run(self):
        self.queue.put(self.name)
def outcome(function, *args):
    try:
        return function(*args)
    except BaseException as error:
        return type(error).__name__

if __name__ == "__main__":
    sys.argv.append(str(os.getpid()))
    queue = mp.Queue()
    processes = [mp.Process(target=work, args=(queue, n), kwargs={"word": "some"}, daemon=n == 1) for n in range(3)]
    say([p.is_alive() for p in processes], [p.pid for p in processes], [p.exitcode for p in processes])
    say(outcome(processes[0].join), outcome(processes[0].terminate))
    for p in processes: p.start()
    say(len({p.pid for p in processes}), all(p.pid != os.getpid() for p in processes))
    for p in processes: p.join()
    say(sorted(queue.get() for _ in processes), [p.exitcode for p in processes], [p.is_alive() for p in processes])
    say(outcome(processes[0].start), mp.active_children())
    for target, args in ((leave, (3,)), (leave, (None,)), (end, (4,)), (die, ())):
        p = mp.Process(target=target, args=args)
        p.start(); p.join()
        say(target.__name__, args, p.exitcode)
    for stop in ("terminate", "kill"):
        p = mp.Process(target=sleep)
        p.start()
        say(p.is_alive(), p.exitcode, p.join(0.01), len(mp.active_children()), outcome(p.close))
        getattr(p, stop)()
        p.join()
        say(stop, p.exitcode, p.is_alive(), mp.connection.wait([p.sentinel], 60) == [p.sentinel])
        p.close()
        say(outcome(p.is_alive))
    p = Own(queue)
    p.start(); p.join()
    say(queue.get(), p.name)
    a, b = mp.Pipe()
    p = mp.Process(target=b.send, args=("through a pipe",))
    p.start()
    say(a.recv())
    p.join()
    mp.Process(target=sleep, daemon=True).start()   # is terminated at the end
    mp.Process(target=time.sleep, args=(0.3,)).start()   # is waited for
"""
        )

    def test_process_that_raises(self):
        output = self.runs(
            IMPORT
            + """
def fail(): raise ValueError("as wanted")
if __name__ == "__main__":
    p = mp.Process(target=fail)
    p.start(); p.join()
    say("exitcode", p.exitcode)
    try:
        mp.Process(target=lambda: 1).start()
    except Exception as error:
        say("refused", error)
"""
        )
        self.assertIn("Process Process-1:\nTraceback (most recent call last):\n", output)
        self.assertIn("ValueError: as wanted\nexitcode 1\n", output)
        self.assertRegex(output, "refused .*lambda")

    def test_processes_that_wait_for_each_other(self):
        """There are many more of them than CPUs."""
        output = self.runs(
            IMPORT
            + """
def pass_on(barrier, mine, next):
    barrier.wait()
    next.put(mine.get() + 1)
if __name__ == "__main__":
    N = 20
    barrier = mp.Barrier(N)
    queues = [mp.Queue() for _ in range(N + 1)]
    processes = [mp.Process(target=pass_on, args=(barrier, queues[n], queues[n + 1])) for n in range(N)]
    for p in processes: p.start()
    queues[0].put(0)
    say(queues[N].get())
    for p in processes: p.join()
    say({p.exitcode for p in processes})
"""
        )
        self.assertEqual(output, "20\n{0}\n")

    def test_queue_and_locks(self):
        self.same(
            """
def produce(queue, lock, event):
    with lock:
        for n in range(3):
            queue.put(n)
    event.wait()
    queue.put("end")
def consume(queue):
    while True:
        queue.get()
        queue.task_done()
if __name__ == "__main__":
    import queue as plain
    queue, lock, event = mp.Queue(), mp.Lock(), mp.Event()
    lock.acquire()
    p = mp.Process(target=produce, args=(queue, lock, event))
    p.start()
    try:
        queue.get(timeout=0.1)
    except plain.Empty:
        say("empty")
    lock.release()
    say([queue.get() for _ in range(3)], event.is_set())
    event.set()
    say(queue.get())
    p.join()
    small = mp.Queue(1)
    small.put([1])
    try:
        small.put(2, True, 0.1)
    except plain.Full:
        say("full", small.get())
    joinable = mp.JoinableQueue()
    mp.Process(target=consume, args=(joinable,), daemon=True).start()
    for n in range(10): joinable.put(n)
    joinable.join()
    simple = mp.SimpleQueue()
    simple.put("simple")
    say(simple.get(), simple.empty())
    semaphore = mp.BoundedSemaphore(2)
    say(semaphore.acquire(), semaphore.acquire(), semaphore.acquire(timeout=0.01))
    r = mp.RLock()
    with r, r: say("twice")
    for q in (queue, small, joinable): q.close(); q.cancel_join_thread()
"""
        )

    def test_names(self):
        output = self.runs(
            IMPORT
            + """
import multiprocessing
from offload.multiprocessing import shared_memory, cpu_count, freeze_support, TimeoutError
assert shared_memory is multiprocessing.shared_memory and TimeoutError is multiprocessing.TimeoutError
assert cpu_count() >= 1 and mp.get_context("spawn").Pool is mp.Pool
mp.set_start_method("fork")
assert multiprocessing.get_start_method(allow_none=True) is None
for name in ("Value", "Array"):
    try:
        getattr(mp, name)
    except ImportError as error:
        say(error)
try:
    from offload.multiprocessing import Value
except ImportError as error:
    say(error)
try:
    mp.nothing
except AttributeError as error:
    say(error)
try:
    mp.set_start_method("x")
except ValueError as error:
    say(error)
"""
        )
        self.assertEqual(output.count("does not offer Value: its memory is inherited by a fork"), 2)
        self.assertIn("has no attribute 'nothing'", output)

    def test_a_script_that_is_killed(self):
        with Script(
            IMPORT
            + """
def wait(queue):
    say("began")
    queue.get()
if __name__ == "__main__":
    queue = mp.Queue()
    for _ in range(2): mp.Process(target=wait, args=(queue,)).start()
    time.sleep(600)
"""
        ) as script:
            script.said("began")
            script.process.send_signal(signal.SIGKILL)
            script.leaves_nothing()


if __name__ == "__main__":
    unittest.main()
