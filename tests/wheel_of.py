#!/usr/bin/env python3
"""wheel_of.py NAME FOLDER: writes a wheel of a package that Debian has installed, so that a test can let pip install a
real requirement without a network. Only for packages of pure Python. The format is that of PyPA's specification "Binary
distribution format". Prints the path.
"""
import importlib.metadata
import os
import re
import sys
import zipfile

WHEEL = "Wheel-Version: 1.0\nGenerator: wheel_of.py\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def main(name, folder):
    found = importlib.metadata.distribution(name)
    name, version = re.sub(r"[-_.]+", "_", found.metadata["Name"]), found.version
    info = f"{name}-{version}.dist-info"
    members = {f"{info}/METADATA": found.read_text("METADATA") or found.read_text("PKG-INFO"), f"{info}/WHEEL": WHEEL}
    for package in (found.read_text("top_level.txt") or name).split():
        base = str(found.locate_file(""))
        for where, _, files in os.walk(os.path.join(base, package)):
            for file in sorted(files):
                if file.endswith(".so"):
                    sys.exit(f"wheel_of.py: {package} is not pure Python: {file}")
                if not file.endswith(".pyc"):
                    path = os.path.join(where, file)
                    with open(path, "rb") as source:
                        members[os.path.relpath(path, base)] = source.read()
    record = f"{info}/RECORD"
    members[record] = "".join(f"{member},,\n" for member in [*members, record])
    wheel = os.path.join(folder, f"{name}-{version}-py3-none-any.whl")
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    print(wheel)


main(*sys.argv[1:])
