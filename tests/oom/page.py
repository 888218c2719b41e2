"""The page of memory that failing.so shares with the test, and who called an allocation that failed."""

import mmap
import os
import struct
import subprocess

HEAD = struct.Struct("=IiiI QQQQ Q")  # as struct page in failing.c
FRAMES = 40
SIZE = HEAD.size + 8 * FRAMES


class Page:
    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.truncate(4096)
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)

    def arm(self, pid, tid=0, first=0, last=None):
        """Counts the allocations of the process from now on. Those from first to last fail; first 0: none. pid 0: the
        next process that starts with this page."""
        self.disarm()
        self.map[4:SIZE] = (HEAD.pack(0, pid, tid, 0, 0, first, first if last is None else last, 0, 0)[4:] +
                            bytes(8 * FRAMES))
        self.map[0:4] = struct.pack("=I", 1)

    def disarm(self):
        self.map[0:4] = struct.pack("=I", 0)

    def read(self):
        names = ("armed", "pid", "tid", "frames", "count", "first", "last", "failed", "size")
        return dict(zip(names, HEAD.unpack(self.map[:HEAD.size])))

    def frames(self):
        """The return addresses of the first allocation that failed, the innermost one first."""
        count = self.read()["frames"]
        return struct.unpack(f"={count}Q", self.map[HEAD.size:HEAD.size + 8 * count])


class Maps:
    """The files that are mapped into a process, to name an address by."""

    def __init__(self, pid):
        self.areas = []
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            for line in maps:
                words = line.split()
                if len(words) >= 6 and words[5].startswith("/"):
                    low, high = (int(x, 16) for x in words[0].split("-"))
                    self.areas.append((low, high, int(words[2], 16), words[5]))

    def place(self, address):
        """The file and the offset in it, or None."""
        for low, high, offset, path in self.areas:
            if low <= address < high:
                return path, address - low + offset
        return None

    def callers(self, frames, program):
        """The names of the callers: functions of the program, and names of the libraries."""
        places = [p for p in map(self.place, frames) if p is not None and not os.path.basename(p[0]).startswith(("failing", "libasan"))]
        own = [hex(p[1] - 1) for p in places if os.path.realpath(p[0]) == os.path.realpath(program)]
        names = []
        if own:
            text = subprocess.run(["addr2line", "-f", "-i", "-s", "-p", "-e", program, *own], capture_output=True,
                                  text=True, check=False).stdout
            names = [line.split(" at ") for line in text.replace(" (inlined by) ", "").splitlines()]
        words, last = [], None
        own_places = iter(names)
        if any(os.path.realpath(p[0]) != os.path.realpath(program) for p in places[:1]):
            words.append(os.path.basename(places[0][0]).split(".")[0])
        for name in own_places:
            word = name[0].split(".")[0] + (":" + name[1].split(":")[-1].split()[0] if len(name) > 1 else "")
            if word != last:
                words.append(word)
            last = word
        return words
