"""Documents in batches, and requests in place of other processes: the event loop has only the network to wait for.

    offloadd --python tasks.py
    python3 over_http.py [COUNT]      makes vectors of COUNT (1000) documents, in batches of 100
"""

import asyncio
import hashlib
import sys
import time

import offload

BATCH = 100


def make_documents(count):
    """Texts of some thousand letters, the same ones in each run."""
    words = "a service takes the work off your program so that its event loop stays free for other things".split()
    return [" ".join(words[(n * k + k * k) % len(words)] for k in range(300)) for n in range(count)]


async def tick(gaps):
    """What else the loop has to do: it notes how long it had to wait for its turn."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        gaps.append(time.perf_counter() - began)


async def main():
    documents = make_documents(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    batches = [documents[first : first + BATCH] for first in range(0, len(documents), BATCH)]
    gaps = []
    ticking = asyncio.create_task(tick(gaps))
    began = time.perf_counter()
    async with offload.AsyncClient() as client:
        # Priority 6: behind the work of others, for which somebody waits. 0 is the most urgent, 7 the least.
        calls = [client.run("compute_embeddings_batch", {"documents": batch}, priority=6) for batch in batches]
        vectors = [vector for batch in await asyncio.gather(*calls) for vector in batch]
    print(f"{len(documents)} documents took {time.perf_counter() - began:.2f} s.")
    ticking.cancel()
    longest_ms = max(gaps, default=0) * 1000
    print(f"The loop ticked {len(gaps)} times meanwhile, and never later than after {longest_ms:.0f} ms.")
    digest = hashlib.sha256(repr(vectors).encode()).hexdigest()
    print(f"result: {len(vectors)} vectors with the digest {digest[:16]}")


if __name__ == "__main__":
    asyncio.run(main())
