"""Rows about images: four photographs of 12 megapixels, filtered in one request."""

import contextlib
import http.client
import io
import json
import os
import statistics
import subprocess
import time

import measure
from report import Row, gives
from rows.data import uvicorn

try:
    from PIL import Image, ImageChops, ImageStat
except ImportError:
    Image = None

WIDTH, HEIGHT, COUNT = 4000, 3000, 4
BOUNDARY = "a-boundary-of-the-bench"
LARGE = ("--max-memory", "2GiB")
FILTERS = {"thumbnail": {"filter": "thumbnail", "width": 320, "height": 320}, "sepia": {"filter": "sepia"}}
CLOSE = 6  # of 255, on average: what another decoder, another filter and another encoder may change


def photographs():
    """Four JPEG files: soft shapes and the noise of a camera, which take as long to decode as a photograph."""
    size, files = (WIDTH, HEIGHT), []
    fractal = Image.effect_mandelbrot((WIDTH // 4, HEIGHT // 4), (-2.2, -1.4, 0.8, 1.4), 60).resize(size, Image.BICUBIC)
    across, round_ = Image.linear_gradient("L").resize(size), Image.radial_gradient("L").resize(size)
    bands = [fractal, across, round_, across.transpose(Image.FLIP_TOP_BOTTOM)]
    for number in range(COUNT):
        picture = Image.merge("RGB", [bands[(number + i) % 4] for i in range(3)])
        grain = Image.merge("RGB", [Image.effect_noise(size, 12) for _ in range(3)])
        out = io.BytesIO()
        ImageChops.add(picture, grain, offset=-128).save(out, "JPEG", quality=88)
        files.append(out.getvalue())
    return files


def form(files, kind):
    """The body of a request with a map over the files."""
    job = json.dumps({"type": "image", "items": [FILTERS[kind]] * len(files)})
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="job"\r\n\r\n{job}\r\n'.encode()
    part = (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="data"; filename="a.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n").encode()
    return head + b"".join(part + file + b"\r\n" for file in files) + f"--{BOUNDARY}--\r\n".encode()


def exchange(port, method, path, body=None, headers=None):
    """A request on a connection of its own: the answer and its body."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        found = answer.read()
        if answer.status != 200:
            raise measure.Wrong(f"{method} {path} was answered {answer.status}: {found[:300]}")
        return answer, found


def ours(s, body):
    """The seconds, and the files of the result."""
    start = time.monotonic()
    _, text = exchange(s.port, "POST", "/v1/jobs", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    link = json.loads(text)["links"]["result"]
    answer, document = exchange(s.port, "GET", link)
    seconds = time.monotonic() - start
    mark = b"--" + answer.headers.get_param("boundary").encode()
    return seconds, [part.split(b"\r\n\r\n", 1)[1][:-2] for part in document.split(mark)[1:-1]]


def theirs(port, files, kind):
    sizes = ",".join(str(len(file)) for file in files)
    start = time.monotonic()
    answer, body = exchange(port, "POST", f"/filter?kind={kind}&sizes={sizes}", b"".join(files))
    seconds, found, at = time.monotonic() - start, [], 0
    for size in map(int, answer.headers["X-Sizes"].split(",")):
        found.append(body[at : at + size])
        at += size
    return seconds, found


def check(found, expected):
    if len(found) != COUNT or len(expected) != COUNT:
        raise measure.Wrong(f"{len(found)} and {len(expected)} images came back, and not {COUNT}")
    for one, other in zip(found, expected):
        one, other = Image.open(io.BytesIO(one)).convert("RGB"), Image.open(io.BytesIO(other)).convert("RGB")
        if one.size != other.size:
            raise measure.Wrong(f"an image of {one.size} pixels came back, and not of {other.size}")
        apart = max(ImageStat.Stat(ImageChops.difference(one, other)).mean)
        if apart > CLOSE:
            raise measure.Wrong(f"an image is not what Pillow makes: {apart:.1f} of 255 on average")


class Engine:
    """bench/engine: libvips in one process."""

    def __init__(self, files, kind, folder):
        paths = []
        for number, file in enumerate(files):
            paths.append(os.path.join(folder, f"{kind}-{number}.jpg"))
            with open(paths[-1], "wb") as out:
                out.write(file)
        self.process = subprocess.Popen([os.path.join(measure.BUILD, "bench", "engine"), kind, *paths], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def seconds(self):
        print(file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if line == "":
            raise measure.Wrong("bench/engine has failed")
        return int(line.split()[0]) / 1e9

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def rows_of(kind, files, port):
    body = form(files, kind)
    what = f"{kind} of {COUNT} JPEG of {WIDTH * HEIGHT // 10**6} megapixels in one request"
    with measure.scratch() as folder, contextlib.closing(Engine(files, kind, folder)) as engine, \
            measure.service(*LARGE) as s:
        check(ours(s, body)[1], theirs(port, files, kind)[1])  # and all of them have libvips and Pillow now
        engine.seconds()

        def one_round(number):
            pillow = measure.alternate(number, lambda: ours(s, body)[0], lambda: theirs(port, files, kind)[0])
            return (*pillow, *measure.alternate(number, lambda: ours(s, body)[0], engine.seconds))

        done = measure.rounds(one_round)
    middle = [statistics.median(done.column(at)) for at in range(4)]
    yield Row(f"image_{kind}", f"{what}: rate / that of Pillow in Pool.starmap behind FastAPI", "ratio",
              [b / a for a, b, *_ in done.results], ">= 3", done, f"{middle[0]:.2f} and {middle[1]:.2f} s")
    yield Row(f"image_{kind}_engine", f"{what}: rate / that of libvips alone, in one process without HTTP", "ratio",
              [b / a for *_, a, b in done.results], ">= 0.9", done, f"{middle[2]:.2f} and {middle[3]:.2f} s")


@gives("image_thumbnail", "image_thumbnail_engine", "image_sepia", "image_sepia_engine")
def images():
    if Image is None:
        for name in images.rows:
            yield Row(name, f"{COUNT} JPEG of {WIDTH * HEIGHT // 10**6} megapixels in one request", "ratio", [],
                      skipped="python3-pil is missing")
        return
    files = photographs()
    with uvicorn("pillow_filters:app") as port:
        for kind in FILTERS:
            yield from rows_of(kind, files, port)


ROWS = (images,)
