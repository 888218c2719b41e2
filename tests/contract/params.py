"""Do two JSON Schemas of a job type's params mean the same? The one in openapi.yaml is written for people, the one of
GET /v1/types is made from the handler's table, and they may word it differently. So the forms, the names, what is
required and the defaults are compared as they are; for the rest, both judge a set of values around every bound and
choice that either mentions, and must agree."""

ANY = [None, True, 0, 1, -1, 2, 0.5, 1e3, 1e300, "", "a", "12", "-5", "007", "+1", "1.5", "x1", {}, {"a": 1}]
ANY += [[], [1], ["1"], ["a"], [""], [0.5], [True], [None], [[1]], [1, "a"], ["a", "b"]]


def forms(document, schema):
    """{names of the members: the form}."""
    schema = document.follow(schema)
    alternatives = schema.get("oneOf") or schema.get("anyOf") or [schema]
    alternatives = [document.follow(a) for a in alternatives]
    return {tuple(sorted(a.get("properties", {}))): a for a in alternatives}


def numbers_in(node):
    """All that a schema says about bounds, lengths and choices."""
    if isinstance(node, dict):
        for value in node.values():
            yield from numbers_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from numbers_in(value)
    elif isinstance(node, (int, float, str)) and not isinstance(node, bool):
        yield node


def expand(document, node):
    """The schema with its references written out."""
    if isinstance(node, list):
        return [expand(document, n) for n in node]
    if not isinstance(node, dict):
        return node
    rest = {k: expand(document, v) for k, v in node.items() if k != "$ref"}
    return {**expand(document, document.follow(node)), **rest} if "$ref" in node else rest


def probes(*schemas):
    values = list(ANY)
    for said in numbers_in(list(schemas)):
        if isinstance(said, str):
            values += [said, [said], said + "x"]
        else:
            near = [said - 1, said, said + 1]
            values += near + [str(n) for n in near] + [[n] for n in near]
    return values


def compare_member(document, name, ours, theirs):
    ours, theirs = expand(document, ours), expand(document, theirs)
    if ours.get("default") != theirs.get("default"):
        yield f"{name}: the default is {ours.get('default')!r} in openapi.yaml, {theirs.get('default')!r} in the table"
    judge_ours, judge_theirs = document.validator(ours), document.validator(theirs)
    for value in probes(ours, theirs):
        verdict = judge_ours.is_valid(value)
        if verdict != judge_theirs.is_valid(value):
            yield f"{name}: {value!r} is {'valid' if verdict else 'rejected'} by openapi.yaml, not so by the table"
            return


def compare_form(document, ours, theirs):
    if set(ours.get("required", [])) != set(theirs.get("required", [])):
        yield f"required: {ours.get('required')} in openapi.yaml, {theirs.get('required')} in the table"
    for which, form in (("openapi.yaml", ours), ("the table", theirs)):
        if form.get("additionalProperties") is not False:
            yield f"{which} lets unknown members pass"
    for name, member in ours.get("properties", {}).items():
        yield from compare_member(document, name, member, theirs["properties"][name])


def differences(document, ours, theirs):
    """What openapi.yaml (ours) and the table (theirs) say differently, one line each."""
    ours, theirs = forms(document, ours), forms(document, theirs)
    if set(ours) != set(theirs):
        return [f"the forms are {sorted(ours)} in openapi.yaml, {sorted(theirs)} in the table"]
    return [line for names in ours for line in compare_form(document, ours[names], theirs[names])]
