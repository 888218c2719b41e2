"""Celery's prefork pool with Redis as broker and result backend, behind FastAPI. $REDIS is the path of Redis's socket.

The result backend of Redis does not poll: the waiting thread subscribes, and Redis publishes the result. get() blocks,
so it runs in FastAPI's threads, as FastAPI does with all that blocks; Celery gives each thread a backend of its own.
"""

import os

import jobs
from celery import Celery

REDIS = os.environ["REDIS"]

celery = Celery("celery_redis", broker=f"redis+socket://{REDIS}?virtual_host=0", backend=f"redis+socket://{REDIS}?virtual_host=1")
celery.conf.update(broker_pool_limit=40, broker_connection_retry_on_startup=True, result_expires=60)


@celery.task
def primes(start, stop):
    return jobs.primes(start, stop)


@celery.task
def squares(start, stop):
    """As text: JSON in other languages has no integers of that size."""
    return str(jobs.squares(start, stop))
