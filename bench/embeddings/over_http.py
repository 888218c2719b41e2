"""Rows about embeddings over HTTP, JSON and base64 included: real sockets, a service with the real model."""

import contextlib
import http.client
import itertools
import json
import os
import statistics
import subprocess
import time

import in_process
import measure
import texts
from report import Row
from rows.fairness import latencies

MODEL_OPTIONS = ("--embeddings-precision", "auto")
WITH = 32  # clients with one text each; texts of the one client
SECONDS = {"short": 4, "mix": 6, "long": 12}
IDLE = ("--connections", "1", "--rate", "20", "--seconds", "4")
SCRIPT = os.path.join(measure.ROOT, "bench", "embeddings", "texts.lua")
PATH = "/v1/embeddings"


def service(asked, *options):
    return measure.service("--model-dir", os.path.dirname(asked.folder), *MODEL_OPTIONS, *options)


def body(asked, some):
    return {"model": os.path.basename(asked.folder), "input": some, "encoding_format": "base64"}


def write_bodies(asked, directory, row, texts_a_body):
    """A file of bodies, one a line."""
    path, all_texts = os.path.join(directory, f"{row}-{texts_a_body}.bodies"), texts.texts(asked.folder, row)
    with open(path, "w", encoding="utf-8") as file:
        for at in range(0, len(all_texts), texts_a_body):
            file.write(json.dumps(body(asked, all_texts[at:at + texts_a_body])) + "\n")
    return path


def start_wrk(s, bodies, connections, seconds):
    return subprocess.Popen(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", SCRIPT,
                             f"http://127.0.0.1:{s.port}{PATH}", "--", bodies], stdout=subprocess.PIPE, text=True)


def rate(s, bodies, connections, seconds):
    """Requests a second."""
    return measure.wrk_figures(start_wrk(s, bodies, connections, seconds).communicate()[0])[0]


def batch_rate(s, path, seconds):
    """Requests a second of one client, which ends with an answer: a batch can take seconds."""
    with open(path, "rb") as file:
        bodies = itertools.cycle(file.read().splitlines())
    connection, start, answers = http.client.HTTPConnection(s.host, s.port, timeout=measure.END_LIMIT_S), time.monotonic(), 0
    with contextlib.closing(connection):
        while time.monotonic() < start + seconds:
            connection.request("POST", PATH, next(bodies), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise measure.Wrong(f"a batch was answered {answer.status}: {text[:300]}")
            answers += 1
        return answers / (time.monotonic() - start)


def throughput_rows(asked, row, directory):
    """One worker over HTTP against one process without it, by the clock; and two workers against one."""
    ones, many = (write_bodies(asked, directory, row, count) for count in (1, WITH))
    path, seconds = in_process.write_texts(asked, directory, row), SECONDS[row]
    with service(asked, "--workers", "1") as one, service(asked, "--workers", "2") as two:
        def once(number):
            turns = {
                "alone": lambda: in_process.own(asked, path, "auto", "--seconds", str(seconds))["texts_per_s"],
                "clients": lambda: rate(one, ones, WITH, seconds),
                "batch": lambda: batch_rate(one, many, seconds) * WITH,
                "two": lambda: rate(two, ones, 2 * WITH, seconds),
            }
            return {key: turns[key]() for key in (turns if number % 2 == 0 else reversed(turns))}

        for s in (one, two):
            rate(s, ones, WITH, 1)  # to warm up
        done = measure.rounds(once)

    def made(name, what, of, base, goal):
        values = [r[of] / r[base] for r in done.results]
        middle = (statistics.median(r[key] for r in done.results) for key in (of, base))
        return Row(f"http_{name}_{row}", f"{row}, over HTTP: {what}", "ratio", values, goal, done, "{:.1f} and {:.1f} texts/s".format(*middle))

    yield made("clients", f"{WITH} clients, one text each / in process", "clients", "alone", ">= 0.9")
    yield made("batch", f"one client with {WITH} texts / in process", "batch", "alone", ">= 0.9")
    yield made("two", "two workers / one", "two", "clients", ">= 1.8" if len(measure.CPUS) > 2 else "")


def idle_row(asked):
    with service(asked) as s:
        def once(number):
            return measure.finish_load(measure.start_load(s, PATH, body(asked, texts.texts(asked.folder, "short")[0]), *IDLE))

        once(0)
        done = measure.rounds(once)
    return Row("http_idle", "one short text, idle, over HTTP: p50", "ms", [r["p50_us"] / 1000 for r in done.results], "<= 3", done,
               f"p99 {statistics.median(r['p99_us'] for r in done.results) / 1000:.2f} ms")


def private_mb(pid):
    """The memory that this process shares with no other."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(("Private_Clean:", "Private_Dirty:"))) * 1024 / 1e6


def beside_rows(asked, directory):
    """Tiny jobs and /livez while the workers embed; then what a worker has of memory."""
    bodies = write_bodies(asked, directory, "mix", 1)
    with service(asked) as s:
        def once(number):
            load = start_wrk(s, bodies, WITH, 5)
            found = latencies(s)
            measure.wrk_figures(load.communicate()[0])
            pids = [w["pid"] for w in measure.workers(s) if w["lane"] == "main"]
            return found, max(private_mb(pid) for pid in pids)

        done = measure.rounds(once)
    for name, what, goal in (("livez", "/livez", "<= 3"), ("tiny", "tiny job", "<= 5")):
        yield Row(f"http_{name}_p99", f"{what}, while {WITH} clients embed: p99", "ms",
                  [found[name]["p99_us"] / 1000 for found, _ in done.results], goal, done,
                  f"p50 {statistics.median(found[name]['p50_us'] for found, _ in done.results) / 1000:.2f} ms")
    yield Row("http_memory", "private memory of the largest worker, after embedding", "MB", [mb for _, mb in done.results], "<= 20", done)
