#!/usr/bin/env python3
"""rooms.py rooms | circles: compares the order of the rooms with the #include lines and the calls. `make lint` runs it.

A room is a folder, or a few files of one; docs/architecture.md explains them. ROOMS lists them from top to bottom: a
room can include the rooms in its row, which are always further down. LIBRARIES says where a library can be included.
Besides, no two files need each other, however long the way round is: x.c and x.h are one module, and a module needs
another one if it includes its header or calls one of its functions. Prints a line for each breach of a rule, and exits
with 1 if there is one.
"""
import pathlib
import re
import sys

SERVER_BASE = ["pool", "handlers/host", "base"]  # what every room of the front end can include

# room: (the headers that other rooms can include, or None for all of them; the rooms that it can include)
ROOMS = {
    "tools": (None, ["server/config", "cli", "base"]),
    "server/main": ([], ["server/api", "server/config", "server/http", "server/jobs", "server/webhooks", "server/store",
                         "server/access", "server/model"] + SERVER_BASE),
    "server/api": (["api.h"], ["server/config", "server/http", "server/jobs", "server/webhooks", "server/store",
                               "server/access", "server/model"] + SERVER_BASE),
    "server/config": (["config.h", "config_options.h", "config_sources.h"], ["server/webhooks", "server/access"] + SERVER_BASE),
    "server/http": (["http.h"], ["server/model"] + SERVER_BASE),
    "server/jobs": (["jobs.h"], ["server/store", "server/model"] + SERVER_BASE),
    "server/webhooks": (["webhooks.h"], ["server/store", "server/model"] + SERVER_BASE),
    "server/access": (["access.h"], ["server/model"] + SERVER_BASE),
    "server/store": (["store.h"], ["server/model"] + SERVER_BASE),
    "server/model": (["model.h"], SERVER_BASE),
    "pool": (None, ["handlers/program", "handlers/host", "base"]),
    "handlers/program": (["programs.h"], ["handlers/host", "handlers", "base"]),
    "handlers/host": (["host.h", "options.h", "scan.h", "jsontext.h"], ["handlers", "base"]),
    "handlers": (["handler.h", "models.h"], []),
    "cli": (None, ["base"]),
    "base": (None, []),
}

# Files that do not belong to the room of their folder.
FILES = {
    "server/main.c": "server/main",
    "server/file_watch.c": "server/main",
    "server/file_watch.h": "server/main",
    "server/config.c": "server/config",
    "server/config.h": "server/config",
    "server/config_options.c": "server/config",
    "server/config_sources.c": "server/config",
    "server/config_sources.h": "server/config",
    "server/config_options.h": "server/config",
}

# library: where it can be included. Other libraries are not limited.
LIBRARIES = {
    "microhttpd.h": ["server/http/"],
    "gnutls/gnutls.h": ["server/http/tls.", "server/webhooks/sign.", "base/hash."],
    "gnutls/x509.h": ["server/http/tls."],
    "sqlite3.h": ["server/store/"],
    "curl/curl.h": ["server/webhooks/", "cli/"],
    "vips/vips.h": ["handlers/vips_library.", "bench/engine."],
    "oneapi/dnnl/dnnl.h": ["handlers/embed/onednn."],
    "jansson.h": ["handlers/embed/", "handlers/host/", "server/model/problem.", "pool/sources.", "cli/"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.M)
# A definition begins at the start of a line and has a body; clang-format makes it so.
DEFINITION = re.compile(r"^(?!typedef|struct \w+ \{|else|return)((?:[A-Za-z_]\w*[ *]+)+)(\w+)\([^;{}]*\)\s*\{", re.M)
DECLARATION = re.compile(r"^(?!typedef|#)[A-Za-z_][\w ,*]*?\b(\w+)\([^;{}]*?\)[^;{}]*;", re.M)
# "route_handler api_types, api_type;": functions that are declared by the name of their type.
DECLARATION_BY_TYPE = re.compile(r"^[a-z_]\w* ([a-z_]\w*(?:,\s*[a-z_]\w*)*);", re.M)
NAME = re.compile(r"(?<![\w.>\"])(?<!struct )(?<!enum )([a-z_]\w*)\b")


def without_comments(text):
    """The code alone: comments, strings and characters become blanks; the lines stay where they are."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def read_sources():
    sources = {}
    for top in ["base", "pool", "handlers", "server", "cli", "tools"]:
        for path in sorted(pathlib.Path(top).rglob("*.[ch]")):
            sources[path.as_posix()] = path.read_text()
    return sources


def room_of(path):
    if path in FILES:
        return FILES[path]
    folder = path
    while "/" in folder:
        folder = folder.rsplit("/", 1)[0]
        if folder in ROOMS:
            return folder
    return None


def check_rooms(sources):
    order = list(ROOMS)
    bad = []
    for room, (_, below) in ROOMS.items():
        bad += [f"rooms.py: {room} is listed below {other}, which it can include" for other in below
                if order.index(other) < order.index(room)]
    for path, text in sources.items():
        room = room_of(path)
        if room is None:
            bad.append(f"{path}: is in no room")
            continue
        for own, library in INCLUDE.findall(text):
            if library in LIBRARIES and not any(path.startswith(place) for place in LIBRARIES[library]):
                bad.append(f"{path}: <{library}> is for {', '.join(LIBRARIES[library])} only")
            if own == "" or own not in sources or room_of(own) == room:
                continue
            other = room_of(own)
            headers, _ = ROOMS[other]
            if other not in ROOMS[room][1]:
                bad.append(f'{path}: {room} may not include {other} ("{own}")')
            elif headers is not None and own.rsplit("/", 1)[1] not in headers:
                bad.append(f'{path}: "{own}" is for {other} alone; others include {", ".join(headers)}')
    return bad


# ---- circles of files ------------------------------------------------------------------------------------------------


def module_of(path):
    return path.rsplit(".", 1)[0]


def reachable_headers(path, includes, seen):
    for header in includes[path]:
        if header not in seen:
            seen.add(header)
            reachable_headers(header, includes, seen)
    return seen


def find_needs(sources):
    """{module: {other module: set of names}}: the functions it calls there; "" stands for an #include."""
    code = {path: without_comments(text) for path, text in sources.items()}
    includes = {path: [own for own, _ in INCLUDE.findall(text) if own in sources] for path, text in sources.items()}
    declared = {path: set(DECLARATION.findall(code[path])) for path in sources if path.endswith(".h")}
    for path in declared:
        for names in DECLARATION_BY_TYPE.findall(code[path]):
            declared[path].update(re.split(r",\s*", names))
    local, public = {}, {}
    for path in sources:
        found = DEFINITION.findall(code[path])
        local[path] = {name for how, name in found if "static" in how.split()}
        for how, name in found:
            if "static" not in how.split():
                public.setdefault(name, set()).add(path)
    needs = {module_of(path): {} for path in sources}
    for path in sources:
        mine = needs[module_of(path)]
        for header in includes[path]:
            mine.setdefault(module_of(header), set()).add("")
        seen = reachable_headers(path, includes, set())
        known = set().union(*(declared[header] for header in seen)) if seen else set()
        for name in set(NAME.findall(code[path])) & known - local[path]:
            # Two programs can have functions of one name: it is the one of the same program, or of a room that both
            # use.
            for place in public.get(name, ()):
                if (place.startswith("cli/") and not path.startswith(("cli/", "tools/"))) or \
                        (path.startswith("cli/") and not place.startswith(("cli/", "base/"))):
                    continue
                mine.setdefault(module_of(place), set()).add(name)
    for module, others in needs.items():
        others.pop(module, None)
    return needs


def find_circles(needs):
    """The sets of modules that all need each other (Tarjan's strongly connected components)."""
    number, low, stack, circles = {}, {}, [], []

    def visit(module):
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in needs[module]:
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            at = stack.index(module)
            if len(stack) - at > 1:
                circles.append(sorted(stack[at:]))
            del stack[at:]

    for module in needs:
        if module not in number:
            visit(module)
    return circles


def check_circles(sources):
    needs = find_needs(sources)
    bad = []
    for circle in find_circles(needs):
        bad.append(f"a circle of {len(circle)} files: {', '.join(circle)}")
        for module in circle:
            for other in sorted(set(needs[module]) & set(circle)):
                names = sorted(needs[module][other])
                what = ", ".join(name if name else "#include" for name in names[:6])
                bad.append(f"    {module} -> {other}: {what}{' ...' if len(names) > 6 else ''}")
    return bad


def main():
    sys.setrecursionlimit(10000)
    checks = {"rooms": check_rooms, "circles": check_circles}
    if len(sys.argv) != 2 or sys.argv[1] not in checks:
        sys.exit("usage: rooms.py rooms | circles")
    bad = checks[sys.argv[1]](read_sources())
    print("\n".join(bad))
    sys.exit(1 if bad else 0)


main()
