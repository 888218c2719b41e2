"""The application that submits to Celery and waits. See celery_redis.py."""

import celery_redis
import web
from fastapi.concurrency import run_in_threadpool


def submit_and_wait(name, start, stop):
    return int(getattr(celery_redis, name).delay(start, stop).get())


async def call(name, start, stop):
    return await run_in_threadpool(submit_and_wait, name, start, stop)


app = web.make_app(call)
