"""AsyncClient, against the real service."""

import asyncio
import os
import unittest

import offload
from cases import Cases


class Blocking:
    """An AsyncClient, with the interface of Client: each call runs an event loop until it is done."""

    def __init__(self, *args, **options):
        self.loop = asyncio.new_event_loop()
        self.client = offload.AsyncClient(*args, **options)

    def do(self, what):
        async def wait():
            return await what

        return self.loop.run_until_complete(wait())

    def run(self, *args, **options):
        return self.do(self.client.run(*args, **options))

    def submit(self, *args, **options):
        return BlockingJob(self, self.do(self.client.submit(*args, **options)))

    def map(self, *args, **options):
        return self.iterate(self.client.map(*args, **options).__aiter__())

    def iterate(self, values):
        try:
            while True:
                try:
                    value = self.do(values.__anext__())
                except StopAsyncIteration:
                    return
                yield value
        finally:
            self.do(values.aclose())

    def embed(self, *args, **options):
        return self.do(self.client.embed(*args, **options))

    def job(self, *args):
        return BlockingJob(self, self.do(self.client.job(*args)))

    def get(self, *args, **options):
        return self.do(self.client.get(*args, **options))

    def types(self):
        return self.do(self.client.types())

    def close(self):
        self.do(self.client.close())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


class BlockingJob:
    def __init__(self, blocking, job):
        self.__dict__.update(blocking=blocking, inner=job)

    @property
    def status(self):
        return self.refresh().inner.status

    def refresh(self):
        self.blocking.do(self.inner.refresh())
        return self

    def result(self, *args):
        return self.blocking.do(self.inner.result(*args))

    def cancel(self):
        return self.blocking.do(self.inner.cancel())

    def events(self):
        return self.blocking.iterate(self.inner.events())

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __setattr__(self, name, value):
        setattr(self.inner, name, value)

    def __repr__(self):
        return repr(self.inner)


class AsyncClients(Cases, unittest.TestCase):
    make = Blocking

    def idle(self, client):
        return len(client.client.pool)

    def with_client(self, function, **options):
        """Runs a coroutine function in a loop of its own, with a client."""

        async def work():
            async with offload.AsyncClient(self.daemon.url, **options) as client:
                return await function(client)

        return asyncio.run(work())

    def test_map_as_a_list_and_one_by_one(self):
        async def work(client):
            self.assertEqual(await client.map("double", [{"n": 1}, {"n": 2}]), [2, 4])
            self.assertEqual([value async for value in client.map("double", columns={"n": [3]})], [6])

        self.with_client(work)

    def test_many_at_a_time(self):
        async def work(client):
            calls = (client.run("double", {"n": n}) for n in range(500))
            self.assertEqual(await asyncio.gather(*calls), list(range(0, 1000, 2)))
            self.assertLessEqual(len(client.pool), 20)
            jobs = await asyncio.gather(*(client.submit("double", {"n": n}) for n in range(100)))
            self.assertEqual(await asyncio.gather(*(job.result() for job in jobs)), list(range(0, 200, 2)))

        self.with_client(work, concurrency=20)

    def test_the_loop_stays_free(self):
        async def work(client):
            path = self.path()
            call = asyncio.ensure_future(client.run("hold", {"path": path}))
            while not os.path.exists(path + ".started"):
                await asyncio.sleep(0.001)
            open(path + ".go", "w").close()
            return await call

        self.assertEqual(self.with_client(work), "held")

    def test_cancel(self):
        """Whoever cancels a task that waits cancels the job at the service."""

        async def work(client):
            for make in (
                lambda path: client.run("hold", {"path": path}),
                lambda path: client.map("hold", [{"path": path}]).gather(),
            ):
                path = self.path()
                call = asyncio.ensure_future(make(path))
                while not os.path.exists(path + ".started"):
                    await asyncio.sleep(0.001)
                call.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await call
                self.is_cancelled("hold")
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(client.run("hold", {"path": self.path()}), 0.05)
            self.assertEqual(await client.run("double", {"n": 4}), 8)

        self.with_client(work)
        self.is_cancelled("hold")

    def test_job_goes_on_without_who_waits(self):
        async def work(client):
            path = self.path()
            job = await client.submit("hold", {"path": path})
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(job.result(), 0.05)
            with self.assertRaises(TimeoutError):
                await job.result(0.05)
            open(path + ".go", "w").close()
            return await job.result(60)

        self.assertEqual(self.with_client(work), "held")

    def test_break_cancels(self):
        async def work(client):
            path = self.path()
            open(path + "a.go", "w").close()
            async for value in client.map("hold", [{"path": path + "a"}, {"path": path + "b"}], chunks=2):
                self.assertEqual(value, "held")
                break

        self.with_client(work)  # asyncio.run closes what was left
        self.is_cancelled("hold")

    def test_one_loop_after_the_other(self):
        client = offload.AsyncClient(self.daemon.url)

        async def work():
            return await client.run("double", {"n": 2})

        for _ in range(3):
            self.assertEqual(asyncio.run(work()), 4)

        async def end():
            await client.close()

        asyncio.run(end())

    def test_fork(self):
        client = self.connect(self.daemon.url)
        self.assertEqual(client.run("double", {"n": 1}), 2)
        pid = os.fork()
        if pid == 0:
            try:
                fresh = asyncio.new_event_loop()
                found = fresh.run_until_complete(client.client.run("double", {"n": 4}))
                os._exit(0 if found == 8 else 1)
            finally:
                os._exit(2)
        self.assertEqual(client.run("double", {"n": 2}), 4)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def test_events_one_by_one(self):
        async def work(client):
            path = self.path()
            job = await client.submit("hold", {"path": path})
            names = []
            async for event in job.events():
                names.append(event.name)
                if event.name == "status" and event.data["status"] == "running":
                    open(path + ".go", "w").close()
            return names

        self.assertEqual(self.with_client(work)[-1], "end")


if __name__ == "__main__":
    unittest.main()
