"""The rows of a benchmark: one line of the table each; and all of them as JSON, for machines and for bench/page."""

import dataclasses
import datetime
import functools
import json
import operator
import os
import platform
import re
import statistics
import subprocess

import measure

COMPARISONS = {">=": operator.ge, "<=": operator.le, "=": operator.eq}


@dataclasses.dataclass
class Row:
    name: str
    what: str  # what is compared with what
    unit: str  # of the values: "ratio", "ms", ...
    values: list  # one for each round; empty if it was skipped
    goal: str = ""  # ">= 0.62", of the median; "": there is none
    rounds: measure.Rounds | None = None  # where the values come from
    note: str = ""
    figures: dict = dataclasses.field(default_factory=dict)  # what else was measured, with units in the names
    skipped: str = ""  # why

    def met(self):
        """None: there is no goal, or nothing to compare with it."""
        if self.goal == "" or self.skipped:
            return None
        comparison, bound = self.goal.split()
        return COMPARISONS[comparison](statistics.median(self.values), float(bound))

    def digits(self):
        middle = abs(statistics.median(self.values))
        if all(v == int(v) for v in self.values):
            return 0
        return 1 if middle >= 100 else 2 if middle >= 0.1 else 4

    def measured(self):
        return "skipped: " + self.skipped if self.skipped else measure.spread(self.values, self.digits())

    def verdict(self):
        return {None: "", True: "met", False: "MISSED"}[self.met()]

    def others(self):
        """What else used the CPUs, in words; the worst round."""
        if self.rounds is None or self.skipped:
            return ""
        text = f"{max(self.rounds.others) * 100:.1f} %"
        if self.rounds.repeated:
            text += f", {self.rounds.repeated} repeated"
        if self.rounds.disturbed:
            text += f", {self.rounds.disturbed} of {len(self.rounds.others)} DISTURBED"
        return text

    def as_json(self):
        done = {"name": self.name, "what": self.what, "unit": self.unit, "goal": self.goal or None, "met": self.met()}
        if self.skipped:
            return {**done, "skipped": self.skipped}
        done |= {"values": self.values, "median": statistics.median(self.values), "min": min(self.values), "max": max(self.values)}
        if self.rounds is not None:
            done["others"] = {"shares": self.rounds.others, "repeated": self.rounds.repeated, "disturbed": self.rounds.disturbed}
        return {**done, "note": self.note, "figures": self.figures}


def gives(*names):
    """Says which rows a measurement yields. It is a generator of Rows, and one call yields all of them."""
    def mark(measurement):
        measurement.rows = names
        return measurement
    return mark


def print_table(rows):
    titles = ("what", "measured", "target", "", "others", "")
    cells = [(r.what, r.measured(), r.goal or "-", r.verdict(), r.others(), r.note) for r in rows]
    widths = [max(len(c[i]) for c in (titles, *cells)) for i in range(5)]
    print()
    for c in (titles, *cells):
        print("  ".join([*(cell.ljust(width) for cell, width in zip(c, widths)), c[5]]).rstrip())


# ---- the machine -----------------------------------------------------------------------------------------------------


def first_line(*command):
    """The first line that the command prints; None if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=measure.ROOT)
    except OSError:
        return None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines else None


def version(*command):
    """The version in what the command prints: the first word that begins with a digit. None: there is none."""
    found = re.search(r"\b\d[\w.+-]*", first_line(*command) or "")
    return found.group() if found else None


def library_versions():
    """The versions of the libraries, as pkg-config knows them: those that the service was built with."""
    names = ("libmicrohttpd", "jansson", "sqlite3", "libcurl")
    return {name: version("pkg-config", "--modversion", name) for name in names}


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        found = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


@functools.cache
def machine():
    commit = first_line("git", "rev-parse", "--short=12", "HEAD")
    changed = commit is not None and first_line("git", "status", "--porcelain", "--untracked-files=no")
    return {
        "cpu": cpu_model(), "cpus": len(measure.CPUS), "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(), "commit": commit, "changed": bool(changed),
        "versions": {
            "offloadd": version(os.path.join(measure.BUILD, "offloadd"), "--version"), **library_versions(),
            "gcc": version("gcc", "--version"), "python": platform.python_version(), "wrk": version("wrk", "-v"),
            "primesieve": version("primesieve", "--version"),
        },
    }


def write_json(path, rows, started):
    document = {
        "machine": machine(), "started": started.isoformat(timespec="seconds"),
        "ended": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "rounds": measure.settings.rounds, "disturbed_share": measure.DISTURBED_SHARE, "busy": measure.settings.busy,
        "rows": [r.as_json() for r in rows],
    }
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    os.replace(path + ".part", path)
