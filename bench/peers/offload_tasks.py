"""The work of the peers in Python (jobs.py), as job types of offloadd: `offloadd --python bench/peers/offload_tasks.py`.
Their names differ from those of the job types that are built in."""

import jobs
import offload


@offload.task
def py_tiny(start: int, stop: int) -> dict:
    return {"count": jobs.primes(start, stop)}


@offload.task
def py_primes(start: int, stop: int) -> dict:
    return {"count": sum(jobs.primes(a, b) for a, b in jobs.pieces(start, stop))}


@py_primes.split
def _(start, stop, chunks):
    for a, b in jobs.parts(start, stop, min(4096, max(1, (stop - start) // jobs.PIECE))):
        yield {"start": a, "stop": b}


@py_primes.merge
def _(parts):
    return {"count": sum(part["count"] for part in parts)}


@offload.task
def py_sum(start: int, stop: int, power: int) -> dict:
    if power != 2:
        raise offload.InvalidParams("/power", "must be 2")
    return {"sum": str(jobs.squares(start, stop))}


@py_sum.split
def _(start, stop, power, chunks):
    for a, b in jobs.parts(start, stop, chunks or jobs.WORKERS):
        yield {"start": a, "stop": b, "power": power}


@py_sum.merge
def _(parts):
    return {"sum": str(sum(int(part["sum"]) for part in parts))}
