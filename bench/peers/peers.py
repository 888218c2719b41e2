"""The peers: how each is installed in the scratch folder, and how it is started. See bench/peers/run."""

import contextlib
import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
import typing

import measure

HERE = os.path.dirname(os.path.abspath(__file__))
SCRATCH = os.path.abspath(os.environ.get("SCRATCH", os.path.join(measure.BUILD, "peers")))
PYTHON = os.path.join(SCRATCH, "python", "bin", "python")
NODE = os.path.join(SCRATCH, "node")
GO = os.path.join(SCRATCH, "go", "peer")
OLDEST_NODE, OLDEST_GO, OLDEST_PYTHON = (20, 0), (1, 19), (3, 10)
WORKERS = str(len(measure.CPUS))


class Unavailable(Exception):
    """The peer cannot be had on this machine; the text says why."""


def run(*command, **options):
    """Runs it; its output. If it fails, the first line that begins with "error" is the reason, or else the last line."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False, **options)
    if done.returncode != 0:
        lines = done.stdout.strip().splitlines() or ["it printed nothing"]
        reasons = [line for line in lines if re.match(r"(npm )?error\b", line, re.IGNORECASE)] or lines[-1:]
        reason = re.sub(r"[a-z]+://[^ ]*", "(address)", reasons[0])[:200]  # addresses are those of this machine's configuration
        raise Unavailable(f"{' '.join(map(os.path.basename, command[:3]))} failed: {reason}")
    return done.stdout


def program(name, package):
    """The path of a program; installs its Debian package if it is not there."""
    if shutil.which(name) is None:
        print(f"  {name} is missing: ./deps.sh {package}", flush=True)
        with contextlib.suppress(Unavailable):
            run(os.path.join(measure.ROOT, "deps.sh"), package)
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} is missing, and apt could not install the package {package}")
    return found


def version(text):
    """The first version in the text, as numbers."""
    return tuple(int(part) for part in re.search(r"(\d+)\.(\d+)", text).groups())


def not_older(name, found, oldest):
    if found < oldest:
        raise Unavailable(f"{name} {'.'.join(map(str, oldest))} or newer is needed; here is {'.'.join(map(str, found))}")


def once(name, wanted, install):
    """Calls install() unless that was done before for what is wanted now: the text says what that is."""
    stamp = os.path.join(SCRATCH, f"installed-{name}")
    wanted = hashlib.sha256(wanted.encode()).hexdigest()
    with contextlib.suppress(OSError), open(stamp, encoding="ascii") as file:
        if file.read() == wanted:
            return
    print(f"  installing {name} in {os.path.relpath(SCRATCH)} ...", flush=True)
    install()
    with open(stamp, "w", encoding="ascii") as file:
        file.write(wanted)


def text_of(*names):
    texts = []
    for name in names:
        with open(os.path.join(HERE, name), encoding="utf-8") as file:
            texts.append(file.read())
    return "".join(texts)


# ---- to install them -------------------------------------------------------------------------------------------------


def install_python(*requirements):
    """A virtual environment of the Python that runs this, and in it what each requirements-NAME.txt lists."""
    not_older("Python", sys.version_info[:2], OLDEST_PYTHON)
    environment = sys.executable + sys.version

    def make_environment():
        shutil.rmtree(os.path.join(SCRATCH, "python"), ignore_errors=True)
        if subprocess.run([sys.executable, "-c", "import ensurepip"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            run(os.path.join(measure.ROOT, "deps.sh"), "python3-venv")
        run(sys.executable, "-m", "venv", os.path.join(SCRATCH, "python"))

    once("python", environment, make_environment)
    for name in requirements:
        file = f"requirements-{name}.txt"
        command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--requirement"]
        once(name, environment + text_of(file), lambda: run(*command, os.path.join(HERE, file)))


def install_node():
    node, npm = program("node", "nodejs"), program("npm", "npm")
    found = run(node, "--version")
    not_older("Node", version(found), OLDEST_NODE)
    os.makedirs(NODE, exist_ok=True)
    for name in ("package.json", "package-lock.json", "jobs.mjs", "fastify_piscina.mjs"):
        shutil.copy(os.path.join(HERE, name), NODE)
    once("node", found + text_of("package.json", "package-lock.json"),
         lambda: run(npm, "ci", "--no-audit", "--no-fund", "--fetch-retries=1", cwd=NODE))


def install_go():
    go = program("go", "golang-go")
    found = run(go, "version")
    not_older("Go", version(found), OLDEST_GO)
    environment = {**os.environ, "GOCACHE": os.path.join(SCRATCH, "go", "cache"), "GOTOOLCHAIN": "local", "GOFLAGS": "",
                   "GOPROXY": "off"}
    once("go", found + text_of("go/go.mod", "go/main.go"),
         lambda: run(go, "build", "-buildvcs=false", "-o", GO, ".", cwd=os.path.join(HERE, "go"), env=environment))


def redis_program():
    """The path of Redis, or None. Debian's package redis-server would also start one as a service of the machine.
    redis-tools does not, and has the same program: what it does depends on the name by which it is called."""
    return shutil.which("redis-server") or shutil.which("redis-check-rdb")


def install_celery():
    install_python("fastapi", "celery")
    if redis_program() is None:
        program("redis-check-rdb", "redis-tools")


# ---- to start them ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Command:
    arguments: list
    environment: dict = dataclasses.field(default_factory=dict)
    executable: str | None = None  # None: the first argument


def module(name, *arguments, **environment):
    """A module of the virtual environment; it finds those that are beside this file."""
    return Command([PYTHON, "-m", name, *arguments], {"PYTHONPATH": HERE, **environment})


def uvicorn(app, port, **environment):
    return module("uvicorn", "--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools",
                  "--no-access-log", "--log-level", "warning", app, **environment)


def start_celery(port, directory):
    socket = os.path.join(directory, "redis")
    return [
        Command(["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", directory],
                executable=redis_program()),
        module("celery", "--app", "celery_redis", "worker", "--pool", "prefork", "--concurrency", WORKERS, "--without-gossip",
               "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING", REDIS=socket),
        uvicorn("celery_web:app", port, REDIS=socket),
    ]


def start_gunicorn(port, _):
    return [module("gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--workers", WORKERS, "--threads",
                   "32", "--dirty-app", "gunicorn_dirty:Jobs", "--dirty-workers", WORKERS, "--no-control-socket", "--log-level",
                   "warning", "gunicorn_dirty:app")]


@dataclasses.dataclass
class Peer:
    name: str
    title: str
    install: typing.Callable  # raises Unavailable
    start: typing.Callable  # the commands to start, for a port and an empty directory
    http: bool = True  # False: it is bench/peers/executor.py, which has no port


def start_offload_python(port, _):
    """offloadd, with the functions that the peers in Python have in their pools."""
    return [Command([os.path.join(measure.BUILD, "offloadd"), "--listen", f"127.0.0.1:{port}", "--data-dir", "none", "--python",
                     os.path.join(HERE, "offload_tasks.py"), "--python-bin", PYTHON])]


PEERS = (
    Peer("python", "offloadd with Python functions", install_python, start_offload_python),
    Peer("go", "Go net/http, a goroutine a CPU", install_go, lambda port, _: [Command([GO, str(port)])]),
    Peer("fastify", "Fastify + Piscina", install_node,
         lambda port, _: [Command(["node", os.path.join(NODE, "fastify_piscina.mjs"), str(port)])]),
    Peer("executor", "ProcessPoolExecutor without HTTP", install_python, lambda *_: [module("executor")], http=False),
    Peer("fastapi", "FastAPI + ProcessPoolExecutor", lambda: install_python("fastapi"),
         lambda port, _: [uvicorn("fastapi_pool:app", port)]),
    Peer("gunicorn", "gunicorn with dirty workers", lambda: install_python("gunicorn"), start_gunicorn),
    Peer("celery", "Celery + Redis behind FastAPI", install_celery, start_celery),
)


def versions():
    """What is measured, with its versions."""
    pins = text_of(*(f"requirements-{name}.txt" for name in ("fastapi", "gunicorn", "celery")))
    found = dict(re.findall(r"^(fastapi|uvicorn|gunicorn|celery)==(\S+)$", pins, re.MULTILINE))
    found |= dict(re.findall(r'"(fastify|piscina)": "([^"]+)"', text_of("package.json")))
    for name, command in (("node", ["node", "--version"]), ("go", ["go", "version"]), ("redis", ["redis-server", "--version"])):
        with contextlib.suppress(Unavailable, OSError):
            said = run(*command, executable=redis_program() if name == "redis" else None)
            found[name] = re.search(r"\d+\.\d+(\.\d+)?", said).group()
    return found
