"""Documents in batches in other processes, while the event loop stays free.

    python3 FILE [COUNT]    makes vectors of COUNT (1000) documents, in batches of 100
"""

import asyncio
import hashlib
import math
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor

BATCH = 100
DIMENSIONS = 64


def compute_embeddings_batch(documents):
    """A vector of length 1 for each document: pieces of three letters are counted, and hashed to the dimensions."""
    vectors = []
    for document in documents:
        vector = [0.0] * DIMENSIONS
        for i in range(len(document) - 2):
            vector[zlib.crc32(document[i : i + 3].encode()) % DIMENSIONS] += 1.0
        length = math.sqrt(sum(x * x for x in vector)) or 1.0
        vectors.append([x / length for x in vector])
    return vectors


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
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    with ProcessPoolExecutor() as executor:
        calls = [loop.run_in_executor(executor, compute_embeddings_batch, batch) for batch in batches]
        vectors = [vector for batch in await asyncio.gather(*calls) for vector in batch]
    print(f"{len(documents)} documents took {time.perf_counter() - began:.2f} s.")
    ticking.cancel()
    longest_ms = max(gaps, default=0) * 1000
    print(f"The loop ticked {len(gaps)} times meanwhile, and never later than after {longest_ms:.0f} ms.")
    digest = hashlib.sha256(repr(vectors).encode()).hexdigest()
    print(f"result: {len(vectors)} vectors with the digest {digest[:16]}")


if __name__ == "__main__":
    asyncio.run(main())
