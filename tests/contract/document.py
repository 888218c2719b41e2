"""openapi.yaml as the contract test reads it: its operations, their examples, and validators for its schemas."""

import json

import jsonschema
import yaml

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def reject_duplicates(pairs):
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError(f"an object names a member twice: {names}")
    return dict(pairs)


def reject_constant(name):
    raise ValueError(f"{name} is not JSON")


def parse_json(text):
    """Strict JSON: no member twice, no NaN."""
    return json.loads(text, object_pairs_hook=reject_duplicates, parse_constant=reject_constant)


class Operation:
    def __init__(self, document, path, method, item):
        self.path, self.method = path, method.upper()
        self.spec = item[method]
        self.id = self.spec["operationId"]
        self.responses = {status: document.follow(r) for status, r in self.spec["responses"].items()}
        parameters = [document.follow(p) for p in item.get("parameters", []) + self.spec.get("parameters", [])]
        self.places = {p["name"]: p["in"] for p in parameters}
        self.body = self.spec.get("requestBody", {}).get("content", {}).get("application/json")

    def examples(self):
        """{name: {"value", "parameters", "headers", "job", "after", "expect"}}, whichever way they are written."""
        if self.body is None:
            return {name: {"expect": {}, **(e or {})} for name, e in self.spec.get("x-examples", {}).items()}
        return {
            name: {
                "value": e["value"],
                "headers": e.get("x-request-headers", {}),
                "expect": e.get("x-expect", {}),
            }
            for name, e in self.body["examples"].items()
        }


class Document:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.text = file.read()
        self.root = yaml.safe_load(self.text)
        self.operations = [
            Operation(self, path, method, item)
            for path, item in self.root["paths"].items()
            for method in METHODS
            if method in item
        ]
        self.by_id = {o.id: o for o in self.operations}

    def follow(self, node):
        """Returns the node that a reference stands for, or the node itself."""
        while "$ref" in node:
            target = self.root
            for name in node["$ref"].removeprefix("#/").split("/"):
                target = target[name.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    def validator(self, schema):
        """References start at the document in OpenAPI, but at the schema in JSON Schema: so it gets the components."""
        if isinstance(schema, dict):
            schema = {**schema, "components": self.root["components"]}
        return jsonschema.Draft202012Validator(schema)

    def faults(self, schema, value):
        """What is wrong with a value, one line each."""
        return [f"{e.json_path}: {e.message[:300]}" for e in self.validator(schema).iter_errors(value)]

    def references(self):
        """Every $ref in the document."""
        found, left = set(), [self.root]
        while left:
            node = left.pop()
            if isinstance(node, dict):
                found |= {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
                left.extend(node.values())
            elif isinstance(node, list):
                left.extend(node)
        return found
