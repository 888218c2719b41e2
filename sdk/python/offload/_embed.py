"""Client.embed: texts as arrays of numpy, by the job type `embeddings`. Many texts become several jobs, one after the
other. numpy is imported when it is called."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional, Union

from ._api import Api, Steps, Submission, Work
from ._errors import InvalidParams
from ._failures import HTTPError

JOB_TEXTS = 16384  # of one job, which takes up to 100,000
JOB_CHARACTERS = 8 << 20


def numpy_module() -> Any:
    try:
        import numpy
    except ImportError:
        raise ImportError("embed() returns arrays of numpy, which is not installed: pip install numpy") from None
    return numpy


def list_of(texts: Union[str, Iterable[str]]) -> list[str]:
    found = [texts] if isinstance(texts, str) else list(texts)
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise TypeError(f"text {i} is no string, but {type(text).__name__}")
    return found


def jobs_of(texts: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The texts of each job, and which one of all is its first."""
    begin, characters = 0, 0
    for i, text in enumerate(texts):
        if i > begin and (i - begin == JOB_TEXTS or characters + len(text) > JOB_CHARACTERS):
            yield begin, texts[begin:i]
            begin, characters = i, 0
        characters += len(text)
    if begin < len(texts):
        yield begin, texts[begin:]


def moved(error: InvalidParams, begin: int, single: bool) -> InvalidParams:
    """The same about the text's place in what was given."""
    name, _, index = error.pointer[1:].partition("/")
    if name == "input" and index.isdigit():
        error.pointer = "/input" if single else f"/input/{begin + int(index)}"
        error.args = (error.pointer, error.why)
    return error


class Embedding:
    """What embed() is asked for. It is checked before anything is sent."""

    def __init__(
        self,
        texts: Union[str, Iterable[str]],
        params: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        self.numpy = numpy_module()
        self.single = isinstance(texts, str)
        self.texts = list_of(texts)
        self.params = {name: value for name, value in params.items() if value is not None}
        self.options = dict(options)
        self.vectors: list[Any] = []

    def submission(self, begin: int, texts: list[str]) -> Submission:
        options = dict(self.options)
        if options.get("idempotency_key") is not None and len(texts) < len(self.texts):
            options["idempotency_key"] += f"-{begin}"
        return Submission("embeddings", options, params={**self.params, "input": texts, "format": "npy"})

    def take(self, result: Any, count: int) -> None:
        """Adds the vectors of a job of so many texts."""
        if not isinstance(result, self.numpy.ndarray) or result.ndim != 2 or len(result) != count:
            raise HTTPError({"status": 200, "detail": "the service has answered what are no vectors"})
        self.vectors.append(self.numpy.require(result, self.numpy.float32, ["W"]))

    def value(self) -> Any:
        if not self.vectors:
            return self.numpy.empty((0, self.params.get("dimensions", 0)), self.numpy.float32)
        array = self.vectors[0] if len(self.vectors) == 1 else self.numpy.concatenate(self.vectors)
        return array[0] if self.single else array

    def steps(self, api: Api) -> Steps:
        """Returns the array."""
        for begin, texts in jobs_of(self.texts):
            try:
                result = yield from api.run(self.submission(begin, texts))
            except InvalidParams as error:
                raise moved(error, begin, self.single) from None
            yield Work(functools.partial(self.take, result, len(texts)))
        return self.value()


def embedding(
    texts: Union[str, Iterable[str]],
    model: Optional[str],
    dimensions: Optional[int],
    normalize: Optional[bool],
    truncate: bool,
    options: Mapping[str, Any],
) -> Embedding:
    params = {"model": model, "dimensions": dimensions, "normalize": normalize, "truncate": truncate}
    return Embedding(texts, params, options)
