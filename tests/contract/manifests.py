#!/usr/bin/python3
"""Checks the files for containers: docker/k8s, docker/compose*.yaml and the Dockerfiles.

    manifests.py     TAP on stdout; exit code 1 if anything is wrong

Kubernetes: each document is valid by the schema of its kind, with no unknown member, and no key stands twice. What they
say of the service is true: options, ports, paths, users, times. It needs Debian's python3-yaml and python3-jsonschema."""

import copy
import glob
import json
import os
import re
import sys

import jsonschema
import yaml

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SCHEMAS = "tests/contract/k8s-schemas/v1.37.json"
KINDS = {
    ("apps/v1", "StatefulSet"): "io.k8s.api.apps.v1.StatefulSet",
    ("apps/v1", "Deployment"): "io.k8s.api.apps.v1.Deployment",
    ("v1", "Service"): "io.k8s.api.core.v1.Service",
    ("v1", "Secret"): "io.k8s.api.core.v1.Secret",
    ("policy/v1", "PodDisruptionBudget"): "io.k8s.api.policy.v1.PodDisruptionBudget",
    ("networking.k8s.io/v1", "NetworkPolicy"): "io.k8s.api.networking.v1.NetworkPolicy",
}
OF_THE_CLIENT = {"OFFLOAD_URL", "OFFLOAD_CA"}  # variables that are no options of the service
KEYS_LINE = re.compile(
    r"[A-Za-z0-9._-]{1,64} sha256:[0-9a-f]{64} (submit|read|admin)(,(submit|read|admin))*"
    r"( (jobs=\d+|rate=\d+/[smh]|cpu=\d+/[smh]|bytes=\d+([KMGT]iB)?/[smh]|weight=\d+))*"
)
STOP_S = 5  # what the service needs at most, beyond --drain-timeout, to stop what runs and to close its store


class Strict(yaml.SafeLoader):
    """A key that stands twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, f"a key stands twice: {keys}", node.start_mark)
        return super().construct_mapping(node, deep)


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def documents(path):
    return [document for document in yaml.load_all(text_of(path), Strict) if document is not None]


def options():
    """{name without --: default} of docs/options.md."""
    rows = [re.split(r"(?<!\\)\|", line) for line in text_of("docs/options.md").splitlines() if line.startswith("| `--")]
    return {row[1].strip(" `-"): row[3].strip(" `") for row in rows}


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def option_of(variable):
    return variable.removeprefix("OFFLOAD_").lower().replace("_", "-")


def dockerfile(path):
    """The values of its last stage: ENV and EXPOSE, USER, VOLUME."""
    stage = text_of(path).rpartition("\nFROM ")[2]
    found = {"ENV": dict(line.split("=", 1) for line in re.findall(r"^ENV (\S+=\S+)$", stage, re.M))}
    for name in ("EXPOSE", "USER", "VOLUME"):
        found[name] = re.search(rf"^{name} (\S+)$", stage, re.M)[1]
    return found


# ---- Kubernetes ------------------------------------------------------------------------------------------------------


def faults_by_schema(document, schemas):
    kind = KINDS.get((document.get("apiVersion"), document.get("kind")))
    if kind is None:
        return [f"there is no schema for {document.get('apiVersion')} {document.get('kind')}"]
    schema = {"$ref": f"#/definitions/{kind}", "definitions": schemas}
    errors = jsonschema.Draft7Validator(schema).iter_errors(document)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def mutants(manifest):
    """Wrong manifests, which the schema has to reject."""
    def change(*path, value):
        wrong = copy.deepcopy(manifest)
        at = wrong
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value
        return wrong

    container = ("spec", "template", "spec", "containers", 0)
    yield "a misspelt member", change(*container, "securityContex", value={})
    yield "a number as text", change("spec", "replicas", value="1")
    yield "an unknown kind of probe", change(*container, "livenessProbe", "http", value={"path": "/livez"})
    yield "no containers", change("spec", "template", "spec", "containers", value=None)
    yield "another version", change("apiVersion", value="apps/v2")


def check_of_service(all_of, kind, faults):
    """The facts about the one StatefulSet or Deployment, its pod and what belongs to them."""
    (manifest,) = all_of[kind]
    on_disk = kind == "StatefulSet"
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    image, known = dockerfile("docker/Dockerfile"), options()

    for variable in variables:
        if option_of(variable) not in known:
            faults["options"].append(f"{variable} is no option of offloadd")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    listen = variables.get("OFFLOAD_LISTEN", image["ENV"]["OFFLOAD_LISTEN"])
    if ports != {"http": int(listen.rpartition(":")[2])} or listen.split(":")[0] != "0.0.0.0":
        faults["ports"].append(f"it listens on {listen}, and the ports are {ports}")
    (service,) = all_of["Service"]
    if [port["targetPort"] for port in service["spec"]["ports"]] != ["http"]:
        faults["ports"].append("the Service does not lead to the port http")

    paths = yaml.safe_load(text_of("openapi.yaml"))["paths"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        get = container[probe]["httpGet"]
        if get["path"] not in paths or get["port"] not in ports:
            faults["probes"].append(f"{probe}: {get}")
    if container["livenessProbe"]["httpGet"]["path"] != "/livez" or container["readinessProbe"]["httpGet"]["path"] != "/readyz":
        faults["probes"].append("/livez is whether it lives, and /readyz whether it is ready")
    patience = container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"]
    if patience <= seconds(variables.get("OFFLOAD_LOAD_TIMEOUT", known["load-timeout"])):
        faults["times"].append(f"a start has {patience} s, and programs can take longer to load")

    command, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    needed = int(pause) + seconds(variables.get("OFFLOAD_DRAIN_TIMEOUT", known["drain-timeout"])) + STOP_S
    if command != "/bin/sleep" or pod["terminationGracePeriodSeconds"] < needed:
        faults["times"].append(f"terminationGracePeriodSeconds has to be {needed} or more")

    security, own = pod["securityContext"], container["securityContext"]
    user = f"{security['runAsUser']}:{security['runAsGroup']}"
    wanted = [security["runAsNonRoot"], security["seccompProfile"] == {"type": "RuntimeDefault"},
              own["readOnlyRootFilesystem"], not own["allowPrivilegeEscalation"], own["capabilities"] == {"drop": ["ALL"]},
              user == image["USER"], pod["enableServiceLinks"] is False, pod["automountServiceAccountToken"] is False]
    if not all(wanted):
        faults["rights"].append(f"of these one is not true: {wanted}")
    for amount in ("requests", "limits"):
        if set(container["resources"][amount]) != {"cpu", "memory"}:
            faults["rights"].append(f"resources.{amount} is not of cpu and memory")

    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    volumes.update((claim["metadata"]["name"], claim) for claim in manifest["spec"].get("volumeClaimTemplates", []))
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    secrets = {secret["metadata"]["name"]: secret for secret in all_of["Secret"]}
    secret = secrets.get(volumes["keys"]["secret"]["secretName"])
    places = {image["VOLUME"], image["ENV"]["STATE_DIRECTORY"]} if on_disk else {None}
    if set(mounts) != set(volumes) or {mounts.get("jobs")} != places:
        faults["volumes"].append(f"mounts {mounts}, volumes {sorted(volumes)}")
    if on_disk == (variables.get("OFFLOAD_DATA_DIR") == "none"):
        faults["volumes"].append("what has a disk keeps its jobs there, and what has none does not")
    folder, _, name = variables["OFFLOAD_KEYS"].rpartition("/")
    if secret is None or folder != mounts["keys"] or name not in secret["stringData"]:
        faults["volumes"].append(f"there is no {variables['OFFLOAD_KEYS']}")

    labels = manifest["spec"]["template"]["metadata"]["labels"]
    selectors = [manifest["spec"]["selector"]["matchLabels"], service["spec"]["selector"]]
    selectors += [policy["spec"]["selector"]["matchLabels"] for policy in all_of["PodDisruptionBudget"]]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in all_of.get("NetworkPolicy", [])]
    if len(selectors) != (4 if on_disk else 3) or any(selector != labels for selector in selectors):
        faults["labels"].append(f"the pod has {labels}, and these are selected: {selectors}")
    if on_disk and (manifest["spec"]["serviceName"] != service["metadata"]["name"] or manifest["spec"]["replicas"] != 1):
        faults["labels"].append("one pod, behind the Service, is what the store allows")

    for line in secret["stringData"][name].splitlines():
        if line and not line.startswith("#") and not KEYS_LINE.fullmatch(line):
            faults["keys"].append(f"no line of a keys file: {line}")


# ---- compose and the images ------------------------------------------------------------------------------------------


def check_compose(faults):
    known, image = options(), dockerfile("docker/Dockerfile")
    port = image["EXPOSE"]
    for path in ("docker/compose.yaml", "docker/compose.tls.yaml"):
        (project,) = documents(path)
        for name, service in project["services"].items():
            for variable, value in service.get("environment", {}).items():
                if variable not in OF_THE_CLIENT and option_of(variable) not in known:
                    faults.append(f"{path}: {name}: {variable} is no option of offloadd")
                if variable == "OFFLOAD_URL" and not re.fullmatch(rf"https?://(offload|localhost):{port}", value):
                    faults.append(f"{path}: {name}: there is nothing at {value}")
                if value.startswith("/run/secrets/") and value.rpartition("/")[2] not in service["secrets"]:
                    faults.append(f"{path}: {name}: {value} is not among its secrets")
            for secret in service.get("secrets", []):
                if secret not in project["secrets"]:
                    faults.append(f"{path}: {name}: there is no secret {secret}")
            grace = service.get("stop_grace_period")
            if grace is not None and seconds(grace) < seconds(known["drain-timeout"]) + STOP_S:
                faults.append(f"{path}: {name}: stop_grace_period is too short")


def check_images(faults):
    known, images = options(), [dockerfile("docker/Dockerfile"), dockerfile("docker/python/Dockerfile")]
    for image in images:
        for variable in image["ENV"]:
            if variable != "STATE_DIRECTORY" and option_of(variable) not in known:
                faults.append(f"{variable} is no option of offloadd")
        if image["ENV"]["OFFLOAD_LISTEN"] != f"0.0.0.0:{image['EXPOSE']}":
            faults.append(f"it listens on {image['ENV']['OFFLOAD_LISTEN']}, and {image['EXPOSE']} is exposed")
    for name in ("USER", "EXPOSE", "VOLUME"):
        if images[0][name] != images[1][name]:
            faults.append(f"the images do not have the same {name}")


# ---- main ------------------------------------------------------------------------------------------------------------


def main():
    number = failed = 0

    def result(name, faults):
        nonlocal number, failed
        number += 1
        failed += bool(faults)
        print(f"{'not ok' if faults else 'ok'} {number} - {name}", flush=True)
        for fault in faults:
            print("#   " + str(fault).replace("\n", "\n#   "), flush=True)

    schemas = json.loads(text_of(SCHEMAS))["definitions"]
    keys = {}
    for folders, kind in ((("", "network-policy"), "StatefulSet"), (("in-memory",), "Deployment")):
        all_of = dict(keys)
        paths = [path for folder in folders for path in glob.glob(os.path.join(ROOT, "docker/k8s", folder, "*.yaml"))]
        for path in sorted(paths):
            for document in documents(path):
                all_of.setdefault(document["kind"], []).append(document)
                faults = faults_by_schema(document, schemas)
                result(f"{os.path.relpath(path, ROOT)}: the {document['kind']} is valid", faults)
        for name, wrong in mutants(all_of[kind][0]):
            result(f"{kind}: the schema rejects {name}", [] if faults_by_schema(wrong, schemas) else ["it accepts it"])
        faults = {name: [] for name in ("options", "ports", "probes", "times", "rights", "volumes", "labels", "keys")}
        check_of_service(all_of, kind, faults)
        for name, found in faults.items():
            result(f"{kind}: what is said of {name} is true", found)
        keys = {"Secret": all_of["Secret"]}
    for name, check in (("compose.yaml and compose.tls.yaml", check_compose), ("the Dockerfiles", check_images)):
        found = []
        check(found)
        result(f"what is said in {name} is true", found)
    print(f"1..{number}")
    return 1 if failed else 0


sys.exit(main())
