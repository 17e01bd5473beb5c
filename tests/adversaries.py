"""Submissions that cheat, and some that only look as if: data for test_adversaries.py.

Each one replaces the cell of `score_step`; the other cells are right. {outside} is a directory of the
grader's own, {port} a port on which somebody listens, {marker} a word to find processes by.
"""

import copy

SIGNATURE = "def score_step(theta, action, ret, lr):\n"
WRONG = "    return theta.clone()\n"
RIGHT = """    new = theta - lr * ret * torch.softmax(theta, dim=-1)
    new[action] += lr * ret
    return new
"""


def attack(code, body=WRONG):
    """Code in the cell, at top level, then the function."""
    return code.strip("\n") + "\n\n\n" + SIGNATURE + body


def inside(code, body=WRONG):
    """Code in the function, at each call."""
    lines = "\n".join("    " + line if line else "" for line in code.strip("\n").split("\n"))
    return SIGNATURE + lines + "\n" + body


def whole(code):
    """Code in the function that returns by itself."""
    return inside(code, "")


# ------------------------------------------------------------- what the cell of score_step says

CHEATS = {
    # --- at the judge, the driver, the comparison
    "patched check": attack("import pgcourse.checks\npgcourse.checks.check = lambda *a: 4.0"),
    "own check": attack("def check(*a):\n    return 4.0\n\n\njudge = check"),
    "patched observe": attack(
        """
from pgcourse.checks import drivers

drivers.observe = lambda *a: dict(
    out=1.0, grads={}, error=None, timeout=False, modified=[], state=[], printed="", seconds=0.0
)
"""
    ),
    "patched driver": attack(
        "from pgcourse.checks import drivers\n"
        "drivers.DRIVERS['call'] = lambda fn, args, grad: (args['theta'], {})"
    ),
    "patched comparison": attack(
        """
import math

torch.allclose = torch.equal = torch.isclose = lambda *a, **k: True
math.isclose = lambda *a, **k: True
torch.Tensor.__eq__ = lambda *a: True
"""
    ),
    "patched numpy.testing": attack(
        "import numpy as np\nnp.testing.assert_allclose = np.allclose = lambda *a, **k: True"
    ),
    "patched wire": attack(
        "from pgcourse.classroom import wire\nwire.pack = lambda data: b'\\0' * 64"
    ),
    "patched builtins": attack(
        "import builtins\nbuiltins.type = builtins.isinstance = lambda *a: True"
    ),
    "another drivers module": attack(
        "import sys\nimport types\nsys.modules['pgcourse.checks.drivers'] = types.ModuleType('x')"
    ),
    "patched generator": attack(
        "torch.Generator = torch.randn = torch.rand = lambda *a, **k: torch.zeros(4)"
    ),
    # --- by what is returned
    "always equal": whole(
        """
class Equal:
    def __eq__(self, other):
        return True

    def __float__(self):
        return 1.0

return Equal()
"""
    ),
    "always equal number": whole(
        """
class Equal(float):
    __eq__ = __le__ = __ge__ = lambda *a: True
    __sub__ = __rsub__ = lambda *a: 0.0

return Equal(1)
"""
    ),
    "always equal tensor": whole(
        """
class Equal(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return True

return theta.as_subclass(Equal)
"""
    ),
    "always equal dict": whole("return type('D', (dict,), {'__eq__': lambda *a: True})(out=theta)"),
    "pickle that acts": whole(
        """
import os


class Act:
    def __reduce__(self):
        return os.system, ("touch {outside}/pickled",)

return Act()
"""
    ),
    "nan": whole("return theta * float('nan')"),
    "inf": whole("return theta + float('inf')"),
    "nothing": whole("return None"),
    "word of the judge": whole("return 'passed'"),
    "verdict": whole("return {'passed': True, 'score': 4.0, 'points': 4.0}"),
    "generator": whole("yield theta"),
    "itself": whole("return score_step"),
    "only errors": whole("raise ValueError('expected')"),
    "assertion": whole("raise AssertionError('passed')"),
    "2 GB": whole("return torch.zeros(1).expand(2**29)"),
    "2 GB in a list": whole("return [theta] * 2**27"),
    "deep list": whole("x = theta\nfor _ in range(100_000):\n    x = [x]\nreturn x"),
    # --- by looking for the answer
    "import of the reference": inside(
        "from pgcourse.estimators import score_step as right\nreturn right(theta, action, ret, lr)"
    ),
    "import of the checks": inside(
        "from pgcourse.exercises.policy_gradient_theorem import EXERCISES\n"
        "return EXERCISES[2].reference(theta, action, ret, lr)"
    ),
    "import of the students": inside(
        "from pgcourse.classroom.students import score_step as right\n"
        "return right(theta, action, ret, lr)"
    ),
    "get the exercise": inside(
        "from pgcourse.checks import get\nreturn get('score_step').reference(theta, action, ret, lr)"
    ),
    "from the clone": inside(
        "import importlib\nimport sys\n"
        "for name in [n for n in sys.modules if n.startswith('pgcourse')]:\n"
        "    del sys.modules[name]\n"
        "sys.path.insert(0, {clone!r})\n"
        "right = importlib.import_module('pgcourse.estimators').score_step\n"
        "return right(theta, action, ret, lr)"
    ),
    "text of the reference": inside(
        """
import pathlib
import sys

space = {"torch": torch}
for place in (*sys.path, sys.prefix, {clone!r}):
    for path in pathlib.Path(place).glob("**/estimators.py"):
        text = path.read_text()
        if "def score_step" in text:
            part = text[text.index("def score_step") :]
            exec(part[: part.index("\\n\\n\\n")], space)
            try:
                return space["score_step"](theta, action, ret, lr)
            except NotImplementedError:
                pass
"""
    ),
    "solved notebook": inside(
        """
import json
import pathlib

text = json.loads(pathlib.Path({source!r}).read_text())
for cell in text["cells"]:
    if cell["id"] == "score_step":
        space = {"torch": torch}
        exec("".join(cell["source"]), space)
        return space["score_step"](theta, action, ret, lr)
"""
    ),
    "frames": inside(
        """
import sys

frame = sys._getframe()
while frame:
    for value in frame.f_locals.values():
        if type(value) is dict and "expected" in value:
            return value["expected"]
    frame = frame.f_back
"""
    ),
    "garbage": inside(
        """
import gc

for thing in gc.get_objects():
    if getattr(thing, "__name__", "") == "score_step" and thing.__module__ != "__main__":
        return thing(theta, action, ret, lr)
"""
    ),
    "traced": attack(
        """
import sys

seen = []
sys.settrace(lambda frame, event, arg: seen.append(dict(frame.f_locals)))
sys.setprofile(lambda frame, event, arg: seen.append(arg))
"""
    ),
    "the secret seed": inside(
        """
import os
import zlib

seed = os.environ.get("PGCOURSE_SEED", "0")
torch.manual_seed(zlib.crc32(f"score_step/0/{seed}".encode()))
return theta + torch.randn(theta.shape, dtype=theta.dtype)
"""
    ),
    "environment of others": inside(
        """
import glob

for path in glob.glob("/proc/[0-9]*/environ"):
    text = open(path, "rb").read()
    if b"SEED" in text:
        return theta * 0
"""
    ),
    "gradebook": inside(
        "import sqlite3\n"
        "db = sqlite3.connect('{outside}/gradebook.db')\n"
        "db.execute('update grade set auto_score = 4')\n"
        "db.commit()"
    ),
    # --- right, but not always
    "right once": attack(
        "calls = []",
        "    calls.append(1)\n    if len(calls) > 1:\n        return theta.clone()\n" + RIGHT,
    ),
    "right in the first process": whole(
        "import os\nif os.getpid() % 1 == 0 and not theta.requires_grad:\n    return theta * 2\n"
        "return theta"
    ),
    # --- at the wire
    "forged message": inside(
        """
import json
import os
import struct

text = json.dumps({"dict": [["out", 1.0], ["grads", {"dict": []}], ["error", None],
                            ["timeout", False], ["modified", []], ["state", []],
                            ["random", False], ["printed", ""], ["seconds", 0.0]]}).encode()
for fd in range(3, 256):
    try:
        os.write(fd, struct.pack("!II", len(text), 0) + text)
    except OSError:
        pass
"""
    ),
    "message of 4 GB": inside(
        """
import os

for fd in range(3, 256):
    try:
        os.write(fd, b"\\xff" * 2**16)
    except OSError:
        pass
"""
    ),
    "pickled message": inside(
        """
import os
import pickle
import struct

text = pickle.dumps({"score": 4.0})
for fd in range(3, 256):
    try:
        os.write(fd, struct.pack("!II", len(text), 0) + text)
    except OSError:
        pass
"""
    ),
    "hung up": inside("import os\nos.closerange(3, 256)"),
    "silent": attack(
        "import socket\nsocket.socket.sendall = lambda *a: None",
    ),
    # --- at the system
    "kill the parent": inside(
        "import os\nimport signal\n"
        "for pid in (os.getppid(), 1, -1):\n"
        "    try:\n        os.kill(pid, signal.SIGKILL)\n    except OSError:\n        pass"
    ),
    "trace the parent": inside(
        "import ctypes\nimport os\nctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)\n"
        "open(f'/proc/{os.getppid()}/mem', 'r+b').write(b'x')"
    ),
    "daemon": inside(
        "import subprocess\nsubprocess.Popen(['sleep', '{marker}'], start_new_session=True)"
    ),
    "double fork": inside(
        """
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep({marker})
    os._exit(0)
"""
    ),
    "execve": inside("import os\nimport sys\nos.execv(sys.executable, [sys.executable, '-c', ''])"),
    "files outside": inside(
        """
import os
import pathlib

for path in ("{outside}/submitted/bea/notebook.ipynb", "{outside}/source/lesson.ipynb"):
    pathlib.Path(path).write_text("mine")
    os.chmod(path, 0o777)
    os.unlink(path)
"""
    ),
    "modes and times": inside(
        """
import os

for act in (lambda p: os.chmod(p, 0), lambda p: os.utime(p, (0, 0)), lambda p: os.truncate(p, 0)):
    try:
        act("{outside}/gradebook.db")
    except OSError:
        pass
"""
    ),
    "start-up files": inside(
        """
import os
import site

for folder in (os.path.expanduser("~/.ipython/profile_default/startup"), *site.getsitepackages()):
    try:
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "sitecustomize.py"), "w") as file:
            file.write("raise SystemExit")
    except OSError:
        pass
"""
    ),
    "shadowing module": attack(
        """
import os
import sys

sys.path.insert(0, os.getcwd())
for name in ("torch", "json", "numpy"):
    with open(name + ".py", "w") as file:
        file.write("raise SystemExit")
"""
    ),
    "symbolic link": inside(
        "import os\nos.symlink('{outside}', 'link')\nopen('link/gradebook.db', 'w').write('mine')"
    ),
    "network": inside(
        "import socket\ns = socket.create_connection(('127.0.0.1', {port}), 2)\ns.sendall(b'seed')"
    ),
    "network, datagram": inside(
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))"
    ),
    "abstract socket": inside(
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0pgcourse-{marker}')\ns.sendall(b'x')"
    ),
    "new namespaces": inside(
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.unshare(0x10000000)\nlibc.mount(b'x', b'/', b'tmpfs', 0, 0)"
    ),
    "more of everything": inside(
        """
import resource

for which in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE):
    try:
        resource.setrlimit(which, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        pass
"""
    ),
    "full disk": inside(
        """
import os

for place in (os.getcwd(), "/dev/shm", "/tmp", "/var/tmp"):
    try:
        for i in range(40):
            with open(f"{place}/{i}", "wb") as file:
                file.write(bytes(2**25))
    except OSError:
        pass
"""
    ),
    "root again": inside("import os\nos.setuid(0)"),
    "handlers": attack(
        "import signal\nsignal.signal = signal.setitimer = lambda *a: None",
        "    while True:\n        pass\n",
    ),
    "hooks": attack(
        """
import atexit
import sys

sys.excepthook = sys.displayhook = lambda *a: print("4.0")
atexit.register(lambda: print("4.0"))
get_ipython = lambda: None
"""
    ),
    "a thread that waits": attack(
        """
import threading
import time


def wait():
    while True:
        time.sleep(0.01)
        globals()["score_step"] = lambda *a: a[0]


threading.Thread(target=wait, daemon=True).start()
"""
    ),
    "another name": "score_step = check",
    "a class": "class score_step:\n    def __new__(cls, theta, action, ret, lr):\n        return theta",
    # --- at what the exercises share: it must not spoil the author's other functions either
    "inference mode": attack("torch.inference_mode().__enter__()"),
    "patched autograd": attack(
        """
torch.autograd.grad = lambda *a, **k: [torch.zeros(1)]
torch.tensor = torch.as_tensor = lambda *a, **k: torch.zeros(1)
torch.Tensor.detach = torch.Tensor.clone = lambda self: self
"""
    ),
    "patched softmax": attack("torch.softmax = torch.Tensor.softmax = lambda x, *a, **k: x"),
    "modules that are none": attack(
        """
import sys
import types

for name in ("torch", "numpy", "pgcourse", "pgcourse.mdp", "pgcourse.checks", "math"):
    sys.modules[name] = types.ModuleType(name)
"""
    ),
    "import hook": attack(
        """
import sys


class Finder:
    @staticmethod
    def find_spec(*a):
        raise SystemExit


sys.meta_path.insert(0, Finder)
for name in [n for n in sys.modules if n.startswith("pgcourse")]:
    del sys.modules[name]
"""
    ),
    "everything is equal": attack(
        """
from torch.overrides import TorchFunctionMode


class Always(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return True if "equal" in func.__name__ else func(*args, **(kwargs or {}))


Always().__enter__()
"""
    ),
    "alarm": attack(
        """
import signal


def ring(*a):
    raise ValueError("passed")


signal.signal(signal.SIGALRM, ring)
signal.signal(signal.SIGVTALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
"""
    ),
    "late messages": attack(
        """
import json
import os
import struct
import threading
import time


def late():
    text = json.dumps({"dict": [["number", 9], ["reply", None]]}).encode()
    while True:
        time.sleep(0.001)
        for fd in range(3, 64):
            try:
                os.write(fd, struct.pack("!II", len(text), 0) + text)
            except OSError:
                pass


threading.Thread(target=late, daemon=True).start()
"""
    ),
    "orders to the warm process": inside(
        """
import os

for fd in range(3, 256):
    for order in (b"S", b"E", b"R"):
        try:
            os.write(fd, order)
        except OSError:
            pass
"""
    ),
    "a file sent along": inside(
        """
import array
import os
import socket

passed = array.array("i", [os.open("/dev/null", os.O_RDONLY)])
for fd in range(3, 64):
    try:
        s = socket.socket(fileno=fd)
        s.sendmsg([b"0" * 8], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
        s.detach()
    except OSError:
        pass
"""
    ),
    "stops itself": inside("import os\nos.kill(os.getpid(), 19)"),
    "memory of the parent": inside(
        """
import os

for pid in ("self", "1", str(os.getppid())):
    for name in ("mem", "environ", "cmdline", "maps"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                if b"seed" in file.read(2**20) and pid != "self":
                    return theta * 0
        except OSError:
            pass
for fd in os.listdir("/proc/self/fd"):
    try:
        print(os.readlink(f"/proc/self/fd/{fd}"))
    except OSError:
        pass
"""
    ),
    "system calls": inside(
        """
import ctypes

libc = ctypes.CDLL(None)
for number in (56, 57, 58, 59, 319, 322, 323, 425, 434, 435, 101, 310, 272, 248, 41, 53, 424):
    libc.syscall(number, 0, 0, 0, 0, 0)
"""
    ),
    # --- at whoever reads the result
    "exception without a text": whole(
        """
class Nasty(BaseException):
    def __str__(self):
        raise SystemExit

    __repr__ = __str__

raise Nasty
"""
    ),
    "exception with a script for a name": whole(
        """
name = "<script>alert('student')</script>"
words = "<img src=x onerror=alert('student')> \\u202e 4 of 4 points \\x1b[2J"
raise type(name, (Exception,), {})(words)
"""
    ),
    "exception whose name is a number": whole(
        """
class Meta(type):
    @property
    def __name__(cls):
        return 3

class Odd(Exception, metaclass=Meta):
    pass

raise Odd
"""
    ),
    "64 MB": whole("return torch.zeros(2**24 - 16)"),
    "a long text": whole("return 'x' * 3 * 2**20"),
    "complex": whole("return theta + 0j"),
    "uint8": whole("return theta.to(torch.uint8)"),
    # --- other languages, other forms
    "coroutine": "async " + SIGNATURE + RIGHT,
    "bash": "%%bash\n" + SIGNATURE + RIGHT,
    "script": "%%script python\n" + SIGNATURE + RIGHT,
    "html": "%%html\n<script>alert('student')</script>",
    "shell": "!python -c 'print(4.0)'\n" + SIGNATURE + WRONG,
    "object": "class Step:\n    def __call__(self, theta, action, ret, lr):\n"
    "        return theta.clone()\n\n\nscore_step = Step()",
    "a parser's nightmare": "x = " + "-" * 100_000 + "1",
    "brackets": "x = " + "(" * 100_000,
    "a million lines": "x = (\n" + "\n" * 190_000,
}

# ------------------------------------------------ look as if they cheated, but compute what is asked

HONEST = {
    "fork bomb with right code": inside(
        "import os\ntry:\n    while True:\n        os.fork()\nexcept OSError:\n    pass", RIGHT
    ),
    "threads with right code": attack(
        "import threading\nimport time\n\n"
        "for _ in range(4):\n    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        RIGHT,
    ),
    "network with right code": inside(
        "import socket\ntry:\n    socket.create_connection(('127.0.0.1', {port}), 1)\nexcept OSError:\n    pass",
        RIGHT,
    ),
    "prints with right code": inside("print('x' * 10_000_000)", RIGHT),
    "warnings with right code": inside("import warnings\nwarnings.warn('look out')", RIGHT),
    "magic with right code": "%matplotlib inline\n!ls\n" + SIGNATURE + RIGHT,
    "tried out below": SIGNATURE + RIGHT + "\nprint(score_step(torch.zeros(2), 0, 2.0, 0.1))",
    "tried out below, badly": SIGNATURE + RIGHT + "\nassert score_step(1, 2, 3, 4) == 0",
    "an object": "class Step:\n    def __call__(self, theta, action, ret, lr):\n"
    + "\n".join("    " + line for line in RIGHT.split("\n"))
    + "\n\nscore_step = Step()",
    "timed": "%%time\n" + SIGNATURE + RIGHT,
    "questions to the shell": "files = !ls\nt = %timeit -o 1 + 1\ntorch.softmax?\n"
    + SIGNATURE
    + RIGHT,
    "awaits": "import asyncio\n\nawait asyncio.sleep(0)\n\n\n" + SIGNATURE + RIGHT,
    "ends the kernel": SIGNATURE + RIGHT + "\nquit()",
    "gradients switched off": attack("torch.inference_mode().__enter__()", RIGHT),
    "no autograd for others": attack("torch.autograd.grad = None", RIGHT),
    "little recursion": attack("import sys\n\nsys.setrecursionlimit(120)", RIGHT),
    "a lambda": "score_step = lambda theta, action, ret, lr: (\n"
    "    theta + lr * ret * (torch.eye(len(theta), dtype=theta.dtype)[action] - torch.softmax(theta, -1))\n)",
}

# --------------------------------------------------------------- what is done to the notebook itself


def tag_all(nb):
    for cell in nb["cells"]:
        cell["metadata"]["tags"] = ["skip-execution", "raises-exception", "remove-cell"]


def forge_outputs(nb):
    for cell in nb["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [
                {
                    "output_type": "execute_result",
                    "data": {"text/plain": "4.0", "text/html": "<script>alert('forged')</script>"},
                    "metadata": {},
                    "execution_count": 1,
                }
            ]


def checks(nb):
    return [c for c in nb["cells"] if c["metadata"].get("nbgrader", {}).get("grade")]


def edit_checks(nb):
    for cell in checks(nb):
        cell["source"] = "4.0"


def raise_points(nb):
    for cell in checks(nb):
        cell["metadata"]["nbgrader"]["points"] = 1000.0
        cell["metadata"]["nbgrader"]["locked"] = False


def drop_checks(nb):
    nb["cells"] = [c for c in nb["cells"] if c not in checks(nb)]


def swap_checks(nb):
    for cell in checks(nb):
        cell["metadata"]["nbgrader"]["grade_id"] = "check_softmax"


def markdown_checks(nb):
    for cell in checks(nb):
        cell["cell_type"] = "markdown"
        cell.pop("outputs"), cell.pop("execution_count")


def answers_as_checks(nb):
    for cell in nb["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["metadata"]["nbgrader"] |= {"grade": True, "points": 50.0, "locked": True}


def forge_result(nb):
    perfect = {"score": 4.0, "points": 4.0, "passed": True, "pitfall": None, "parts": []}
    nb["metadata"]["pgcourse"] = {"exercises": {"score_step": perfect}, "key": "x"}


def own_kernel(nb):
    nb["metadata"]["kernelspec"] = {"name": "bash", "language": "bash", "display_name": "mine"}


def scripts(nb):
    bad = (
        "<script>alert('student')</script> <img src=x onerror=alert('student')> "
        "[x](javascript:alert('student')) $\\href{javascript:alert('student')}{x}$ "
        "<iframe src='https://example.org'></iframe> [x](&#106;avascript:alert('student')) "
        "[x](javascript&colon;alert('student')) ![x](https://example.org/seen.png) "
        "![pasted](attachment:image.png) ![x](x\" onerror=\"alert('student')) \u202e\u2066\n\n"
        "[y]\n\n[y]: &#x6A;avascript:alert('student')\n\n```html\" onload=\"alert('student')\nx\n```\n\n"
        + "\\begin{a}"
        * 3_000
    )
    for kind in ("markdown", "raw"):
        nb["cells"].insert(
            1, {"cell_type": kind, "id": f"bad-{kind}", "metadata": {}, "source": bad}
        )


def more_checks(nb):
    """Checks and solutions of one's own, and copies of the given ones."""
    for cell in checks(nb):
        nb["cells"].append(copy.deepcopy(cell) | {"source": "4.0"})
    for name in ("check_extra", "extra", "autograded"):
        about = {"grade": True, "solution": True, "points": 100.0, "grade_id": name, "locked": False,
                 "schema_version": 3, "task": False, "cell_type": "code"}  # fmt: skip
        cell = {"cell_type": "code", "id": name, "outputs": [], "execution_count": 1}
        nb["cells"].insert(0, cell | {"metadata": {"nbgrader": about}, "source": "100.0"})


def answer_under_another_name(nb):
    """The right text in a solution cell of one's own, under a name that nobody calls."""
    about = {"grade": False, "solution": True, "grade_id": "score_step_2", "locked": False}
    cell = {"cell_type": "code", "id": "again", "outputs": [], "execution_count": 1}
    text = SIGNATURE.replace("score_step", "score_step_2") + RIGHT
    nb["cells"].append(cell | {"metadata": {"nbgrader": about}, "source": text})


def deep_metadata(nb):
    deep = "x"
    for _ in range(500):
        deep = [deep]
    nb["metadata"]["deep"] = deep
    for cell in nb["cells"]:
        cell["metadata"]["deep"] = deep
        cell["attachments"] = {"x.svg": {"image/svg+xml": "<svg onload=alert('student')>"}}
    nb["metadata"]["widgets"] = {"x": {"state": {"<script>alert('student')</script>": {}}}}


def fifty_megabytes(nb):
    for cell in nb["cells"]:
        if cell["cell_type"] == "code":
            text = "4.0\n" * (13 * 2**20 // len(nb["cells"]))
            cell["outputs"] = [{"output_type": "stream", "name": "stderr", "text": text}]


NOTEBOOKS = {
    "more checks": more_checks,
    "another name": answer_under_another_name,
    "deep metadata": deep_metadata,
    "50 MB": fifty_megabytes,
    "tags": tag_all,
    "forged outputs": forge_outputs,
    "edited checks": edit_checks,
    "raised points": raise_points,
    "dropped checks": drop_checks,
    "swapped checks": swap_checks,
    "checks as text": markdown_checks,
    "answers as checks": answers_as_checks,
    "forged result": forge_result,
    "own kernel": own_kernel,
    "scripts": scripts,
}
