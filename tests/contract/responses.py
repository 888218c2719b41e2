"""Compares a response with its Response Object: media type, headers, body, and the rules of RFC 9457."""

from document import parse_json

PROBLEM = "application/problem+json"


def contains(whole, part):
    """Is `part` in `whole`? Objects can have more members; all else has to be equal, in type as well."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and contains(whole[k], v) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(contains, whole, part))
    return type(whole) is type(part) and whole == part


def media_matches(documented, actual):
    """Parameters such as charset matter only where the document names them."""
    if ";" not in documented:
        actual = actual.split(";")[0]
    return documented.replace(" ", "").lower() == actual.replace(" ", "").lower()


def header_faults(document, spec, response):
    if not response.headers.get("X-Request-Id"):
        yield "there is no X-Request-Id"
    for name, header in spec.get("headers", {}).items():
        header, value = document.follow(header), response.headers.get(name)
        if value is None and header.get("required"):
            yield f"there is no {name}"
        if value is not None:
            yield from (f"{name}: {fault}" for fault in document.faults(header["schema"], value))


def problem_faults(response, problem):
    if not isinstance(problem, dict):
        return
    if problem.get("status") != response.status:
        yield f"the problem's status is {problem.get('status')}"
    if problem.get("type") != f"/problems/{problem.get('code')}":
        yield f"the problem's type is {problem.get('type')}, its code {problem.get('code')}"


def body_faults(document, spec, response):
    content = spec.get("content", {})
    matching = [media for media in content if media_matches(media, response.media_type())]
    if not matching and "*/*" in content:
        return
    if not matching:
        yield f"the media type is {response.media_type()!r}, not one of {list(content)}"
        return
    schema = content[matching[0]].get("schema")
    if schema is None:
        return
    if not matching[0].endswith(("/json", "+json")):
        yield from document.faults(schema, response.body.decode())
        return
    value = parse_json(response.body)
    yield from document.faults(schema, value)
    if matching[0] == PROBLEM:
        yield from problem_faults(response, value)


def response_faults(document, spec, response, bodiless=False):
    """What differs between a response and its Response Object."""
    yield from header_faults(document, spec, response)
    if bodiless or not spec.get("content"):
        if response.body:
            yield f"there is a body: {response.body[:200]!r}"
        return
    try:
        yield from body_faults(document, spec, response)
    except ValueError as error:
        yield f"the body is not what its media type says: {error}: {response.body[:200]!r}"
