"""openai_client.py BASE_URL: OpenAI's own package as a client. Prints what is wrong, and exits with 1."""

import asyncio
import math
import sys
import unittest

import openai

BASE_URL = sys.argv.pop()
MODEL = "hash-384"
TEXTS = ["one text", "zwei Texte", "три текста"]


class Embeddings(unittest.TestCase):
    def setUp(self):
        self.client = openai.OpenAI(base_url=BASE_URL, api_key="none is needed")
        self.addCleanup(self.client.close)

    def embed(self, **params):
        return self.client.embeddings.create(**{"model": MODEL, **params})

    def test_texts(self):
        """It asks for base64 unless it is told not to, and makes floats of it."""
        coded = self.embed(input=TEXTS)
        plain = self.embed(input=TEXTS, encoding_format="float")
        self.assertEqual((coded.object, coded.model, coded.usage.prompt_tokens), ("list", MODEL, 6))
        self.assertEqual([item.index for item in coded.data], [0, 1, 2])
        for a, b in zip(coded.data, plain.data):
            self.assertEqual(len(a.embedding), 384)
            self.assertLess(max(abs(x - y) for x, y in zip(a.embedding, b.embedding)), 1e-7)
            self.assertAlmostEqual(math.fsum(x * x for x in a.embedding), 1, 5)

    def test_one_text(self):
        answer = self.embed(input="hi there", dimensions=3, user="somebody")
        self.assertEqual([round(x, 6) for x in answer.data[0].embedding], [0.447214, 0.894427, 0.0])

    def test_async(self):
        async def embed():
            async with openai.AsyncOpenAI(base_url=BASE_URL, api_key="k") as client:
                return await asyncio.gather(*(client.embeddings.create(model=MODEL, input=text) for text in TEXTS))

        together = self.embed(input=TEXTS)
        for answer, item in zip(asyncio.run(embed()), together.data):
            self.assertEqual(answer.data[0].embedding, item.embedding)

    def test_many_texts(self):
        answer = self.embed(input=[f"text {i}" for i in range(2048)])
        self.assertEqual([item.index for item in answer.data], list(range(2048)))

    def test_errors(self):
        for params, kind, code, param in [
            ({"model": "text-embedding-3-small", "input": "a"}, openai.NotFoundError, "model_not_found", "model"),
            ({"input": ""}, openai.BadRequestError, "invalid_params", "input"),
            ({"input": ["a", ""]}, openai.BadRequestError, "invalid_params", "input[1]"),
            ({"input": [1, 2, 3]}, openai.BadRequestError, "invalid_params", "input"),
            ({"input": "a", "dimensions": 1000}, openai.BadRequestError, "invalid_params", "dimensions"),
            ({"input": "a", "extra_body": {"truncate": True}}, openai.BadRequestError, "invalid_params", "truncate"),
        ]:
            with self.subTest(code=code, param=param), self.assertRaises(kind) as caught:
                self.embed(**params)
            error = caught.exception
            self.assertEqual((error.code, error.param, error.type), (code, param, "invalid_request_error"))
            self.assertTrue(error.request_id)

    def test_models(self):
        models = self.client.models.list().data
        self.assertIn(MODEL, [model.id for model in models])
        model = self.client.models.retrieve(MODEL)
        self.assertEqual((model.id, model.object, model.owned_by), (MODEL, "model", "offload"))
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("gpt-4")


unittest.main()
