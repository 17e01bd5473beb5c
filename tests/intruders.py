"""Submissions that reach beyond their own points: data for test_adversaries.py, in the form of `adversaries`.

What they leave for the next, what they do to the one who grades, what they try to learn.
"""

from tests.adversaries import RIGHT, SIGNATURE, attack, inside, whole

# where a submission can try to leave something; written as PLACES below
PLACES = '(os.getcwd(), os.environ["HOME"], os.environ.get("TMPDIR", "/tmp"), "/tmp", "/dev/shm")'

CHEATS = {
    # --- left behind
    "three thousand folders": inside(
        """
import os

start = os.open(os.getcwd(), os.O_RDONLY)
for place in PLACES:
    try:
        os.chdir(place)
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
    except OSError:
        pass
    os.fchdir(start)
"""
    ),
    "folders that cannot be listed": inside(
        """
import os

for place in PLACES:
    try:
        os.makedirs(f"{place}/{marker}/inner")
        open(f"{place}/{marker}/inner/file", "wb").write(b"x")
        os.chmod(f"{place}/{marker}/inner", 0o300)
        os.chmod(f"{place}/{marker}", 0o300)
    except OSError:
        pass
"""
    ),
    "names as long as may be": inside(
        """
import os

for place in PLACES:
    for name in (b"x" * 255, b"\\xff" * 200, b"\\x1b[2J {marker}", b"a\\nb {marker}"):
        try:
            os.mkdir(os.fsencode(place) + b"/" + name)
        except OSError:
            pass
"""
    ),
    "the package's own folder filled": inside(
        """
import importlib.metadata
import os

for name in ("torch", "numpy", "pgcourse", "gymnasium"):
    try:
        folder = os.path.dirname(str(importlib.metadata.distribution(name)._path) + "/x")
        for i in range(20):
            with open(f"{folder}/{marker}-{i}", "wb") as file:
                file.write(bytes(2**25))
    except (OSError, ImportError):
        pass
"""
    ),
    "files without a name": inside(
        """
import os

held = globals().setdefault("held", [])
for place in (os.getcwd(), "/tmp", "/dev/shm"):
    try:
        for i in range(20):
            fd = os.open(place, os.O_TMPFILE | os.O_RDWR, 0o600)
            os.write(fd, bytes(2**24))
            held.append(fd)
    except OSError:
        pass
try:
    fd = os.memfd_create("{marker}")
    os.truncate(fd, 2**34)
except OSError:
    pass
"""
    ),
    # --- to the one who grades
    "a signal by way of a pipe": inside(
        """
import fcntl
import os
import struct

F_SETSIG, F_SETOWN_EX = 10, 15
for pid in (os.getppid(), 1):
    r, w = os.pipe()
    for act in (
        lambda: fcntl.fcntl(r, F_SETSIG, 9),
        lambda: fcntl.fcntl(r, fcntl.F_SETOWN, pid),
        lambda: fcntl.fcntl(r, F_SETOWN_EX, struct.pack("ii", 1, pid)),
        lambda: fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC),
        lambda: fcntl.ioctl(r, 0x8901, struct.pack("i", pid)),
        lambda: fcntl.ioctl(r, 0x5452, struct.pack("i", 1)),
    ):
        try:
            act()
        except OSError:
            pass
    os.write(w, b"x")
"""
    ),
    "where memory lies": inside(
        """
import ctypes

libc = ctypes.CDLL(None)
for number in (237, 238, 239, 256, 279, 450):
    libc.syscall(number, 0, 2**21, 1, 0, 0, 0)
"""
    ),
    "six thousand threads": inside(
        """
import threading
import time

for _ in range(6000):
    try:
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    except RuntimeError:
        break
"""
    ),
    "large at every case": whole(
        "big = torch.zeros(2**23)\nreturn {'theta': big, 'a': [big] * 3, 'b': {i: big for i in range(9)}}"
    ),
    "many little things": whole("return [{'x': [i]} for i in range(10**5)]"),
    "escapes for the terminal": whole(
        "raise ValueError('\\x1b]0;mine\\x07 \\x1b[31m \\x9b2J \\x08\\x08 \\r4 of 4 points \\u2028 \\u202e')"
    ),
    "dies by a signal of its choice": inside(
        "import os\nos.kill(os.getpid(), int(abs(float(theta.sum())) * 10**6) % 20 + 1)"
    ),
    # --- to learn what others were asked, or what is secret
    "what was read before": inside(
        """
import mmap
import os
import torch

path = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so")
with open(path, "rb") as file:
    size = 2**20
    try:
        seen = os.preadv(file.fileno(), [bytearray(4096)], size, os.RWF_NOWAIT)
    except (OSError, AttributeError):
        seen = -1
    with mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as view:
        view.madvise(mmap.MADV_DONTNEED)
raise ValueError(f"{seen} {os.stat(path).st_atime_ns}")
"""
    ),
    "numbers written down for the second look": inside(
        """
import os

for place in PLACES:
    try:
        with open(f"{place}/{marker}.txt", "a+") as file:
            file.seek(0)
            words = file.read()
            file.write(repr(theta.tolist()))
    except OSError:
        words = ""
    if words:
        raise ValueError(words[-200:])
"""
    ),
    "the reference by another name": inside(
        """
import importlib
import pkgutil

import pgcourse

for module in pkgutil.walk_packages(pgcourse.__path__, "pgcourse."):
    try:
        found = vars(importlib.import_module(module.name))
    except BaseException:
        continue
    for name, what in list(found.items()):
        for fn in (what, *(what.values() if isinstance(what, dict) else ())):
            if callable(fn) and "step" in getattr(fn, "__name__", ""):
                try:
                    return fn(theta, action, ret, lr)
                except BaseException:
                    pass
"""
    ),
}

CHEATS = {name: cell.replace("PLACES", PLACES) for name, cell in CHEATS.items()}

# Right answers that do the like, and are not to be confused with them.
HONEST = {
    "a folder of its own": attack("import os\nos.makedirs('results/a/b', exist_ok=True)", RIGHT),
    "a hundred threads": attack(
        "import threading\n\nthreads = [threading.Thread(target=int) for _ in range(100)]\n"
        "[t.start() for t in threads]\n[t.join() for t in threads]",
        RIGHT,
    ),
    "an alarm of its own": attack(
        "import signal\n\nsignal.signal(signal.SIGUSR1, lambda *a: None)\nsignal.raise_signal(signal.SIGUSR1)",
        RIGHT,
    ),
    "a terminal's colors": "print('\\x1b[32mgreen\\x1b[0m')\n\n\n" + SIGNATURE + RIGHT,
}
