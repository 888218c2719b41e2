"""FastAPI with a ProcessPoolExecutor: the event loop hands each call to the pool (loop.run_in_executor)."""

import asyncio
import concurrent.futures
import contextlib

import jobs
import web


@contextlib.asynccontextmanager
async def lifespan(app):
    with concurrent.futures.ProcessPoolExecutor(jobs.WORKERS) as app.state.pool:
        yield


async def call(name, start, stop):
    return await asyncio.get_running_loop().run_in_executor(app.state.pool, getattr(jobs, name), start, stop)


app = web.make_app(call, lifespan)
