"""The application of the peers that are written with FastAPI. They differ in the pool that makes the calls."""

import asyncio
from typing import Literal

import jobs
from fastapi import FastAPI
from pydantic import BaseModel, Field


class Params(BaseModel):
    start: int = Field(ge=0)
    stop: int = Field(ge=0)


class Options(BaseModel):
    chunks: int = Field(default=1, ge=1, le=1000)


class Job(BaseModel):
    type: Literal["primes", "sum"]
    params: Params
    options: Options = Options()


def make_app(call, lifespan=None):
    """The application. `await call(name, start, stop)` lets the pool run that function of jobs.py."""

    async def count_primes(start, stop):
        """A long range goes to the pool in pieces, as many at a time as the pool has workers."""
        if stop - start <= jobs.PIECE:
            return await call("primes", start, stop)
        left = jobs.pieces(start, stop)

        async def lane():
            count = 0
            for piece in left:
                count += await call("primes", *piece)
            return count

        return sum(await asyncio.gather(*(lane() for _ in range(jobs.WORKERS))))

    async def sum_squares(start, stop, chunks):
        return sum(await asyncio.gather(*(call("squares", *part) for part in jobs.parts(start, stop, chunks))))

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/jobs")
    async def submit(job: Job):
        if job.type == "primes":
            return {"result": {"count": await count_primes(job.params.start, job.params.stop)}}
        return {"result": {"sum": str(await sum_squares(job.params.start, job.params.stop, job.options.chunks))}}

    @app.get("/health")
    async def health():
        return {"status": "ok"}

    return app
