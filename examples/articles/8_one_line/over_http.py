"""One heavy call, in one line.

    offloadd --python tasks.py
    python3 over_http.py [N]          adds up the squares below N (10000000)
"""

import sys

import offload
from tasks import heavy_task

if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    print("result:", offload.Client().run(heavy_task, {"n": number}))
