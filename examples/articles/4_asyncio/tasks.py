"""offloadd --python tasks.py"""

import math
import zlib

import offload

DIMENSIONS = 64


@offload.task
def compute_embeddings_batch(documents: list[str]) -> list[list[float]]:
    """A vector of length 1 for each document: pieces of three letters are counted, and hashed to the dimensions."""
    vectors = []
    for document in documents:
        vector = [0.0] * DIMENSIONS
        for i in range(len(document) - 2):
            vector[zlib.crc32(document[i : i + 3].encode()) % DIMENSIONS] += 1.0
        length = math.sqrt(sum(x * x for x in vector)) or 1.0
        vectors.append([x / length for x in vector])
    return vectors
