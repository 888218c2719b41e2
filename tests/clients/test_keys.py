"""The clients and a service with --keys: what each key may do, and whose jobs are whose."""

import asyncio
import base64
import hashlib
import os
import secrets
import unittest
from unittest import mock

from daemon import Daemon, Scratch

import offload

TASKS = """
import offload

@offload.task
def double(n: int) -> int:
    return 2 * n
"""


def new_key():
    """As `offload keygen` makes them."""
    return "offload_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


class Keys(Scratch):
    def setUp(self):
        super().setUp()
        os.environ.pop("OFFLOAD_API_KEY", None)
        names = {"alice": "submit,read", "bob": "submit,read", "reader": "read", "root": "admin"}
        self.keys = {name: new_key() for name in names}
        with open(self.path("keys"), "w", encoding="utf-8") as file:
            for name, scopes in names.items():
                file.write(f"{name} sha256:{hashlib.sha256(self.keys[name].encode()).hexdigest()} {scopes}\n")
        self.daemon = self.enterContext(Daemon("--workers", "2", "--keys", self.path("keys"), tasks=TASKS))

    def client(self, name, url=None):
        return self.enterContext(offload.Client(url or self.daemon.url, key=self.keys[name]))

    def test_each_client_is_let_in(self):
        self.assertEqual(self.client("alice").run("double", {"n": 3}), 6)
        self.assertEqual(list(self.client("alice").map("double", [{"n": 1}, {"n": 2}])), [2, 4])
        with offload.Executor(self.daemon.url, key=self.keys["bob"]) as executor:
            self.assertEqual(list(executor.map("double", range(20))), [2 * n for n in range(20)])

        async def ask():
            client = offload.AsyncClient(self.daemon.url, key=self.keys["alice"])
            try:
                return await client.run("double", {"n": 4})
            finally:
                await client.close()

        self.assertEqual(asyncio.run(ask()), 8)
        with mock.patch.dict(os.environ, {"OFFLOAD_API_KEY": self.keys["alice"]}):
            with offload.Client(self.daemon.url) as client:
                self.assertEqual(client.run("double", {"n": 5}), 10)

    def test_who_is_not(self):
        for key, status, code in ((None, 401, "unauthorized"), (new_key(), 401, "unauthorized"), ("reader", 403, "forbidden")):
            with self.subTest(key=key), offload.Client(self.daemon.url, key=self.keys.get(key, key)) as client:
                with self.assertRaises(offload.HTTPError) as caught:
                    client.run("double", {"n": 3})
                self.assertEqual((caught.exception.status, caught.exception.code), (status, code))

    def test_jobs_belong_to_their_key(self):
        job = self.client("alice").submit("double", {"n": 3})
        self.assertEqual(self.client("alice").get(job.id), 6)
        self.assertEqual(self.client("root").get(job.id), 6)
        for name in ("bob", "reader"):
            with self.assertRaises(offload.HTTPError) as caught:
                self.client(name).job(job.id)
            self.assertEqual((caught.exception.status, caught.exception.code), (404, "not_found"))

    def test_idempotency_keys_belong_to_their_key(self):
        first = self.client("alice").submit("double", {"n": 1}, idempotency_key="one")
        self.assertEqual(self.client("alice").submit("double", {"n": 1}, idempotency_key="one").id, first.id)
        other = self.client("bob").submit("double", {"n": 2}, idempotency_key="one")  # no mismatch, and no hint
        self.assertNotEqual(other.id, first.id)
        self.assertEqual(other.result(), 4)


if __name__ == "__main__":
    unittest.main()
