"""What a submission cannot do to the grader, to its neighbors and to the next session, at each level.

Older kernels are played by asking for less of Landlock than this one offers. Run this file as an ordinary
user, too: there, what a submission leaves belongs to the grader's own user.
"""

import inspect
import os
import re

import pytest

from pgcourse.checks import package
from pgcourse.classroom import judge, proofs, sandbox, warm
from tests.classes import FULL
from tests.test_leftovers import KINDS, deep

LEVELS = [level for level in ("bubblewrap", "landlock") if sandbox.fits(level)]
OLDER = [f"landlock {version}" for version in (1, 5)] if "landlock" in LEVELS else []
LIMITS = warm.Limits(seconds=60, memory=512)


def made(level):
    level, _, version = level.partition(" ")
    newest, sandbox.NEWEST_LANDLOCK = sandbox.NEWEST_LANDLOCK, int(version or 99)
    try:
        return warm.Worker(level, tuple(FULL), ("torch",), LIMITS)
    finally:
        sandbox.NEWEST_LANDLOCK = newest


@pytest.fixture(scope="module", params=[*LEVELS, *OLDER])
def worker(request):
    worker = made(request.param)
    yield worker
    worker.close()


def said(worker, code):
    """What code raises in a session: None, or its type and message, or what ended it."""
    cell = {"kind": "answer", "name": "cell", "source": code}
    run = judge.Run(worker, [cell], {"cell": 1}, 60)
    try:
        error = run.prepare("cell")
        return error and f"{error['type']}: {error['message']}"
    except judge.Ended as end:
        return end.name
    finally:
        run.hang_up()


PIPE = (
    "import fcntl, os, ctypes, signal\na, b = os.pipe()\nlibc = ctypes.CDLL(None, use_errno=True)\n"
)
RAW = (
    "\ndef raw(*a):\n    r = libc.syscall(*a)\n"
    "    if r < 0:\n        raise OSError(ctypes.get_errno(), 'refused')\n    return r\n"
)
REFUSED = {
    "F_SETOWN": "fcntl.fcntl(a, 8, os.getppid())",
    "F_SETOWN of a group": "fcntl.fcntl(a, 8, -os.getppid())",
    "F_SETOWN of oneself": "fcntl.fcntl(a, 8, os.getpid())",
    "F_SETSIG": "fcntl.fcntl(a, 10, signal.SIGKILL)",
    "F_SETOWN_EX": "import struct; fcntl.fcntl(a, 15, struct.pack('ii', 1, os.getppid()))",
    "O_ASYNC": "fcntl.fcntl(a, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)",
    "F_SETLEASE": "fcntl.fcntl(os.open(os.__file__, 0), 1024, 0)",
    "F_NOTIFY": "fcntl.fcntl(os.open('.', 0), 1026, 1)",
    "a lock on a library": "fcntl.flock(os.open(os.__file__, 0), fcntl.LOCK_EX)",
    "a lock on a part of a library": "fcntl.lockf(os.open(os.__file__, 0), fcntl.LOCK_SH)",
    "FIOSETOWN": "fcntl.ioctl(a, 0x8901, os.getppid().to_bytes(4, 'little'))",
    "SIOCSPGRP": "fcntl.ioctl(a, 0x8902, os.getppid().to_bytes(4, 'little'))",
    "FIOASYNC": "fcntl.ioctl(a, 0x5452, b'\\x01\\0\\0\\0')",
    "fcntl by its number": "raw(72, a, 8, os.getppid())",
    "fcntl with more bits": "raw(72, a, ctypes.c_ulong(8 | 1 << 32), os.getppid())",
    "kill": "os.kill(os.getppid(), 0)",
    "kill a group": "os.killpg(os.getpgid(0), 0)",
    "kill all": "os.kill(-1, 0)",
    "tkill": "raw(200, os.getppid(), 0)",
    "tgkill": "raw(234, os.getppid(), os.getppid(), 0)",
    "rt_sigqueueinfo": "raw(129, os.getppid(), 0, bytes(128))",
    "rt_tgsigqueueinfo": "raw(297, os.getppid(), os.getppid(), 0, bytes(128))",
    "pidfd_open": "os.pidfd_open(os.getpid())",
    "pidfd_send_signal": "raw(424, 0, 0, 0, 0)",
    "timer_create": "raw(222, 0, bytes(64), bytes(8))",
    "timerfd": "raw(283, 0, 0)",
    "signalfd": "raw(282, -1, bytes(8), 8)",
    "inotify": "raw(294, 0)",
    "fanotify": "raw(300, 0, 0)",
    "mq_notify": "raw(244, 0, bytes(64))",
    "io_uring": "raw(425, 8, bytes(120))",
    "userfaultfd": "raw(323, 0)",
    "perf": "raw(298, bytes(128), 0, -1, -1, 0)",
    "bpf": "raw(321, 0, bytes(128), 128)",
    "keys": "raw(248, b'user', b'x', b'y', 1, -3)",
    "ptrace": "raw(101, 16, os.getppid(), 0, 0)",
    "mbind": "raw(237, 0, 0, 0, 0, 0, 0)",
    "set_mempolicy": "raw(238, 0, 0, 0)",
    "migrate_pages": "raw(256, os.getppid(), 0, 0, 0)",
    "setsid": "os.setsid()",
    "setpgid": "os.setpgid(0, 0)",
    "setpriority": "os.nice(1)",
    "affinity": "os.sched_setaffinity(0, {0})",
    "sync": "raw(162)",
    "PR_SET_PDEATHSIG": "raw(157, 1, 9, 0, 0, 0)",
    "PR_SET_DUMPABLE": "raw(157, 4, 1, 0, 0, 0)",
    "a filter of its own": "raw(317, 1, 0, bytes(16))",
    "mincore": "raw(27, 0, 4096, bytes(8))",
    "cachestat": "raw(451, 0, bytes(16), bytes(64), 0)",
    "RWF_NOWAIT": "os.preadv(os.open(os.__file__, 0), [bytearray(9)], 0, 8)",
    "posix_fadvise": "os.posix_fadvise(os.open(os.__file__, 0), 0, 0, 4)",
    "MADV_PAGEOUT": "import mmap; mmap.mmap(-1, 4096).madvise(21)",
    "MADV_MERGEABLE": "import mmap; mmap.mmap(-1, 4096).madvise(12)",
    "a descriptor sent": "raw(46, a, bytes(64), 0)",
    "an option of a socket": "raw(54, a, 1, 26, bytes(16), 16)",
    "a library cut": "os.open(os.__file__, os.O_RDONLY | os.O_TRUNC)",
    "a library cut, mode 3": "os.open(os.__file__, 3 | os.O_TRUNC)",
    "a library cut by open": "raw(2, os.__file__.encode(), os.O_TRUNC, 0)",
    "openat2": "raw(437, -100, b'.', bytes(24), 24)",
    "clone without a thread": "raw(56, 17, 0, 0, 0, 0)",
    "clone3": "raw(435, bytes(88), 88)",
    "a symbolic link": "os.symlink('/', 'link')",
    "a hard link": "open('x', 'w').close(); os.link('x', 'y')",
    "a pipe with a name": "os.mkfifo('pipe')",
    "what no kernel has yet": "raw(1000)",
}


def test_what_is_refused(worker):
    code = f"""{PIPE}{RAW}
passed = []
for what, code in {REFUSED!r}.items():
    try:
        exec(code)
        passed.append(what)
    except OSError:
        pass
if passed:
    raise ValueError(str(passed))
"""
    assert said(worker, code) is None


HONEST = {
    "threads": "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()",
    "a pool of threads": "from concurrent.futures import ThreadPoolExecutor as T\n"
    "assert list(T(4).map(abs, [-1])) == [1]",
    "files": "import numpy as np\nnp.save('x.npy', np.ones(3))\nassert np.load('x.npy').sum() == 3",
    "folders": "import pathlib\npathlib.Path('a/b').mkdir(parents=True)\n"
    "pathlib.Path('a/b/c').write_text('x')\npathlib.Path('a/b/c').rename('a/b/d')",
    "temporary files": "import tempfile\nwith tempfile.TemporaryFile() as f:\n    f.write(b'x')\n"
    "with tempfile.TemporaryDirectory() as d, tempfile.NamedTemporaryFile(dir=d):\n    pass",
    "torch": "import torch\nx = torch.randn(300, 300, requires_grad=True)\n"
    "torch.linalg.solve(x @ x.T + torch.eye(300), x).sum().backward()",
    "torch saved": "import torch\ntorch.save(torch.ones(3), 'x.pt')\nassert torch.load('x.pt').sum() == 3",
    "a module of torch": "import torch\nm = torch.nn.LSTM(3, 3)\nm(torch.ones(2, 1, 3))[0].sum().backward()\n"
    "torch.optim.Adam(m.parameters()).step()",
    "an environment": "import gymnasium as gym\ne = gym.make('CartPole-v1')\ne.reset(seed=0)\n"
    "e.step(0)\ne.close()",
    "a plot": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig('x.png')\nplt.close()",
    "time": "import time, datetime\ntime.sleep(0.01)\ndatetime.datetime.now()\ntime.perf_counter()",
    "random": "import os, random, secrets, uuid\nos.urandom(3)\nrandom.random()\nsecrets.token_hex()\nuuid.uuid4()",
    "a clock": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 9)\nsignal.setitimer(signal.ITIMER_REAL, 0)",
    "a queue": "import queue\nqueue.Queue().put(1)",
    "the machine": "import os, platform, sys\nos.cpu_count()\nplatform.platform()\nos.uname()",
    "itself": "import os, signal\nsignal.signal(signal.SIGUSR1, lambda *a: None)\nos.kill(os.getpid(), signal.SIGUSR1)\n"
    "signal.raise_signal(signal.SIGUSR1)",
    "scipy's way": "import numpy as np\nnp.linalg.svd(np.random.rand(200, 200))\nnp.fft.fft(np.ones(64))",
    "a copy": "import shutil\nopen('x', 'w').write('x')\nshutil.copyfile('x', 'y')",
    "a database": "import sqlite3\nsqlite3.connect(':memory:').execute('create table t (x)')",
    "a log": "import logging\nlogging.basicConfig(filename='log')\nlogging.warning('x')",
    "8 MB": "open('x', 'wb').write(bytes(2**23))",
}


def test_what_computing_takes(worker):
    code = f"""
failed = []
for what, code in {HONEST!r}.items():
    try:
        exec(code)
    except Exception as error:
        failed.append(f"{{what}}: {{error!r}}")
if failed:
    raise ValueError("; ".join(failed))
"""
    assert said(worker, code) is None


# ---------------------------------------------------------------------------------- what is left


def source_of(make):
    return f"import os\nfrom pathlib import Path\n\n\n{inspect.getsource(deep)}\n\n{inspect.getsource(make)}"


EVERYWHERE = """
for place in {os.getcwd(), os.environ["HOME"], os.environ["TMPDIR"], "/dev/shm", "/tmp", "/var/tmp", "/run", "/"}:
    try:
        MAKE(place)
    except OSError:
        pass
"""
SEEN = f"""{proofs.PLACES}
found = []
for path in places():
    place = os.path.dirname(path)
    try:
        names = os.listdir(place)
    except OSError:
        continue
    found += [os.path.join(place, name) for name in names if name in BEFORE or place == os.getcwd()]
if found:
    raise RuntimeError(str(found))
"""


def test_whatever_one_leaves_the_next_does_not_find(worker):
    for make in KINDS:
        leave = source_of(make) + EVERYWHERE.replace("MAKE", make.__name__)
        assert said(worker, leave) in (None, "cell killed", "cell stalls"), make
        names = ["d", "300", "0", "100", "200", "500", "x" * 255, "-rf", " "]
        assert said(worker, f"BEFORE = {names!r}\n{SEEN}") is None, make
    assert list((worker.home / "scratch").glob("tmp*")) == []


def test_no_mount_but_scratch_can_be_written(worker):
    code = f"""{proofs.PLACES}
written = []
for path in places():
    if os.path.dirname(path) != os.getcwd():
        try:
            open(path, "w").close()
            written.append(path)
        except OSError:
            pass
if written:
    raise RuntimeError(str(written))
"""
    assert said(worker, code) is None


FILL = """
import os
written, files = 0, []
try:
    for i in range(400):
        f = open(f"{i}", "wb")
        for _ in range(8):
            f.write(bytes(2**20))
            written += 2**20
        UNLINK
except OSError:
    pass
if written > MOST:
    raise RuntimeError(f"{written >> 20} MB")
"""


def test_a_session_holds_no_more_than_it_may(worker):
    """In files, and in files without a name; where a look ends it, it dies of it."""
    most = sandbox.SCRATCH_BYTES * (1 if worker.level == "bubblewrap" else 50)
    hidden = "os.mkdir('h', 0o300) if i == 0 else os.rename(str(i), f'h/{i}')"
    for unlink in ("", "os.unlink(f'{i}'); files.append(f)", hidden):
        code = FILL.replace("UNLINK", unlink).replace("MOST", str(most))
        assert said(worker, code) in (None, "cell killed"), unlink


def test_a_session_makes_no_more_files_than_it_may(worker):
    """The file system's limit, or a look of the warm process, which comes when that has its turn."""
    code = """
import itertools, time
until = time.monotonic() + 8
for i in itertools.count():
    open(str(i), "w").close()
    if time.monotonic() > until:
        raise RuntimeError(f"{i} made")
"""
    end = said(worker, code)
    assert end == "cell killed" or end.startswith("OSError: [Errno 28]"), end


def test_a_session_starts_no_more_threads_than_it_may(worker):
    code = """
import threading, time
threading.stack_size(2**16)
try:
    for i in range(6_000):
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
except RuntimeError:
    pass
if i > 500:
    raise ValueError(i)
"""
    assert said(worker, code) is None


def test_root_s_worker_is_another_user_wherever_python_lies(worker):
    if os.getuid() == 0:
        assert (
            said(worker, "import os\nassert os.getuid() > 2 * 10**9 and os.getgid() > 2 * 10**9")
            is None
        )


# ------------------------------------------------------- a level that is not safe is not called so


def broken(monkeypatch, module, old, new):
    """Have the worker's own copy of a module say something else."""
    write = package.write_package

    def write_broken(target, *more):
        write(target, *more)
        path = target / "pgcourse" / "classroom" / f"{module}.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    monkeypatch.setattr(warm, "write_package", write_broken)


BREAKS = {
    "the owner of a pipe": ("system_calls", "FCNTLS = (0,", "FCNTLS = (8, 0,"),
    "the signal of a pipe": ("system_calls", "FCNTLS = (0,", "FCNTLS = (10, 0,"),
    "the owner of a pipe, by kind": ("system_calls", "FCNTLS = (0,", "FCNTLS = (15, 0,"),
    "a pipe that signals": ("system_calls", "(ANY_BIT, 0, 1, O_ASYNC)", "(ANY_BIT, 0, 1, 0)"),
    "the owner of a socket": ("system_calls", "IOCTLS = (", "IOCTLS = (0x8901, "),
    "a signal to a thread": ("system_calls", '"memory": (9', '"memory": (200, 9'),
    "a signal by a timer": ("system_calls", '"memory": (9', '"memory": (222, 9'),
    "the placement of memory": ("system_calls", '"memory": (9', '"memory": (238, 237, 9'),
    "a read that does not wait": ("system_calls", '"memory": (9', '"memory": (327, 9'),
    "what is in memory": ("system_calls", '"memory": (9', '"memory": (27, 9'),
    "a process": ("system_calls", '"memory": (9', '"memory": (57, 56, 58, 9'),
    "the next session finds": ("worker", "leftovers.remove(own)", "pass"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_level_that_leaks_is_not_believed(monkeypatch, what):
    level = LEVELS[-1]
    if what == "the next session finds" and level != "landlock":
        pytest.skip("at bubblewrap the kernel tidies up")
    broken(monkeypatch, *BREAKS[what])
    with pytest.raises(warm.WorkerFailed, match=f"it leaks: {re.escape(what)}"):
        made(level)


@pytest.mark.skipif("landlock" not in LEVELS, reason="of Landlock")
def test_before_landlock_3_a_library_is_cut_unless_the_call_is_refused(monkeypatch):
    broken(monkeypatch, "system_calls", "OPENAT: no_cutting_by_reading(2)", "OPENAT: [PERMIT]")
    if os.getuid():  # another user may not write the library anyway
        with pytest.raises(warm.WorkerFailed, match="it leaks: a library cut"):
            made("landlock 2")
    made("landlock 3").close()


@pytest.mark.skipif("bubblewrap" not in LEVELS, reason="of bubblewrap")
def test_a_scratch_directory_that_stays_is_not_believed(monkeypatch):
    old = "fresh_mounts(scratch, *((user, user) if root else (os.getuid(), os.getgid())))"
    broken(monkeypatch, "sandbox", old, "os.chmod(scratch, 0o777)")
    with pytest.raises(warm.WorkerFailed, match="it leaks: the next session finds"):
        made("bubblewrap")
