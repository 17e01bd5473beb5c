"""What a worker may do: nothing but compute.

Two levels isolate; the strongest that works on this machine is used, and every report names it.

    bubblewrap  own mounts (libraries read-only, nothing of the class), own processes, no network
    landlock    the same file system, of which only the libraries can be read and nothing written

Both allow the system calls of `system_calls` only (no new process, no socket, no signal to others …),
limit memory, CPU, threads, file size and open files, become another user where the grader is root, and
give each session a scratch directory of its own. `none` only has the limits.

This module runs on both sides: it builds the command outside, and locks the door inside.
"""

import contextlib
import ctypes
import os
import platform
import shutil
import signal
import struct
import sys
import sysconfig
from pathlib import Path

from pgcourse.classroom import system_calls

try:
    import resource
except ImportError:  # Windows: nothing here works, and nothing is tried
    resource = None

LEVELS = ("bubblewrap", "landlock", "none")
SCRATCH_BYTES = 64 * 2**20  # files that a session may hold in its scratch directory
SCRATCH_FILES = 4096
FILE_BYTES = 16 * 2**20
OPEN_FILES = 64
THREADS = 128
NEWEST_LANDLOCK = 6  # what is known here; a kernel may know less, or more


def fits(level):
    """Whether this machine could have the level (a worker that starts proves it)."""
    if level == "none":
        return resource is not None
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return bool(shutil.which("bwrap")) if level == "bubblewrap" else landlock_version() > 0


# ------------------------------------------------------------------------------------ outside


def libraries():
    """Directories that a worker reads: the interpreter and the packages, nothing else."""
    found = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()]
    found = sorted({os.path.realpath(p) for p in found if os.path.isdir(p)} | set(found[:2]))
    return [p for p in found if os.path.isdir(p) and not any(is_below(p, q) for q in found)]


def is_below(path, other):
    return path != other and path.startswith(other.rstrip("/") + "/")


SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
AS_ROOT = ("SETUID", "SETGID", "KILL", "DAC_READ_SEARCH")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives",
                "/etc/localtime", "/etc/fonts")  # fmt: skip


def command(level, package, scratch, inner):
    """The argv that runs `inner` (an argv) at a level.

    package : directory that holds the worker's own pgcourse
    scratch : the worker's writable directory; a session gets a fresh one in its place
    """
    if level != "bubblewrap":
        return inner
    argv = ["bwrap", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    argv += ["--unshare-cgroup-try", "--as-pid-1", "--die-with-parent", "--new-session"]
    if os.getuid():
        argv += ["--unshare-user"]
    # the warm process gives each child mounts and a user of its own, and ends it
    for capability in ("SYS_ADMIN", *(() if os.getuid() else AS_ROOT)):
        argv += ["--cap-add", f"CAP_{capability}"]
    for path in SYSTEM:
        if os.path.islink(path):
            argv += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            argv += ["--ro-bind", path, path]
    for path in SYSTEM_FILES:
        argv += ["--ro-bind-try", path, path]
    own = [p for p in libraries() if not any(is_below(p, system) for system in SYSTEM)]
    for path in sorted(
        {str(up) for p in (*own, package, scratch) for up in Path(p).parents} - {"/"}
    ):
        if path not in SYSTEM and not any(is_below(path, q) for q in (*own, *SYSTEM)):
            argv += ["--perms", "0755", "--dir", path]  # else only root could pass through
    for path in own:
        argv += ["--ro-bind", path, path]
    for path in installed_copies():
        argv += ["--tmpfs", path, "--remount-ro", path]
    argv += ["--ro-bind", str(package), str(package), "--proc", "/proc", "--dev", "/dev"]
    argv += ["--size", str(SCRATCH_BYTES), "--tmpfs", str(scratch)]
    argv += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(scratch), "--"]
    return [*argv, *inner]


def installed_copies():
    """pgcourse inside site-packages (an installation that is no clone): the answers are in there."""
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return sorted({str(p) for place in places for p in Path(place).glob("pgcourse*") if p.is_dir()})


# ------------------------------------------------------------------------------------- inside

libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38


class SandboxError(Exception):
    """The door does not lock; the worker must not go on."""


def prctl(option, value):
    if libc and libc.prctl(option, value, 0, 0, 0) != 0:
        raise SandboxError(f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def guard_parent():
    """For the warm process: children of the same user cannot look into it; orphans come to it."""
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def lock_down(level, user, memory, seconds, scratch, readable=()):
    """Give up, for good, everything that a submission has no use for.

    user     : number of the user to become where the grader is root
    memory   : bytes beyond what the warm process holds
    seconds  : of CPU time
    scratch  : the one writable directory, which belongs to that user
    readable : directories and files that stay readable (at the level landlock)
    """
    set_limits(memory, seconds)
    root = os.getuid() == 0
    if level == "bubblewrap":
        fresh_mounts(scratch, *((user, user) if root else (os.getuid(), os.getgid())))
    os.chdir(scratch)
    limit(resource.RLIMIT_NPROC, THREADS if root else threads_of(os.getuid()) + THREADS)
    become(user if root else None)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if level == "landlock":
        restrict_files(scratch, readable)
    if level != "none":
        system_calls.restrict(libc)


def set_limits(memory, seconds):
    held = 0
    with contextlib.suppress(OSError):
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    if held:  # elsewhere (macOS) an address space has no limit that holds
        limit(resource.RLIMIT_AS, held + memory)
    limit(resource.RLIMIT_CPU, seconds)
    limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    limit(resource.RLIMIT_CORE, 0)


def limit(which, most):
    hard = resource.getrlimit(which)[1]
    most = int(most) if hard == resource.RLIM_INFINITY else min(int(most), hard)
    resource.setrlimit(which, (most, most))


def threads_of(user):
    """How many threads a user has: the limit on them counts them all."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            about = dict(line.split(":", 1) for line in path.read_text().splitlines())
            count += int(about["Threads"]) * (int(about["Uid"].split()[0]) == user)
    return count


CLONE_NEWNS, MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 0x20000, 2, 4, 0x4000, 0x40000


def fresh_mounts(scratch, user, group):
    """Mounts of this process's own, with an empty scratch directory of limited size; they go with it."""
    options = f"size={SCRATCH_BYTES},nr_inodes={SCRATCH_FILES},mode=0700,uid={user},gid={group}"
    private, guarded = ctypes.c_ulong(MS_REC | MS_PRIVATE), ctypes.c_ulong(MS_NOSUID | MS_NODEV)
    scratch = os.fsencode(scratch)
    if (
        libc.unshare(CLONE_NEWNS) != 0
        or libc.mount(b"none", b"/", None, private, None) != 0
        or libc.mount(b"tmpfs", scratch, b"tmpfs", guarded, options.encode()) != 0
    ):
        raise SandboxError(f"a fresh scratch directory: {os.strerror(ctypes.get_errno())}")


DAC_READ_SEARCH = 1 << 2


def become(user):
    """Become a user to whom nothing belongs (None: stay who one is), without any capability but, where
    that user could not reach the libraries, that of reading what the level lets be read."""
    kept = 0
    if user is not None:
        kept = 0 if others_can_reach(sys.prefix, sys.base_prefix) else DAC_READ_SEARCH
        prctl(PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = struct.pack("Ii", 0x20080522, 0)
    if libc and libc.capset(header, struct.pack("6I", kept, kept, *[0] * 4)) != 0:
        raise SandboxError(f"capset: {os.strerror(ctypes.get_errno())}")


def others_can_reach(*paths):
    found = {
        p
        for path in paths
        for p in (Path(os.path.realpath(path)), *Path(os.path.realpath(path)).parents)
    }
    return all(p.stat().st_mode & 0o005 == 0o005 for p in found if p.is_dir())


# --- Landlock: which files ---

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, TRUNCATE = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 14
READ = EXECUTE | READ_FILE | READ_DIR
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446


def landlock_version():
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1) if libc else -1
    return min(max(version, 0), NEWEST_LANDLOCK)


def restrict_files(scratch, readable):
    """Read `readable`, write in `scratch`, open nothing else.

    What a version adds (2: no file moved between directories, 3: none cut, 4: no TCP, 5: no device asked,
    6: no signal to anyone outside) the list of system calls refuses at every version.
    """
    version = landlock_version()
    files = (1 << (13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16)) - 1
    net, scoped = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    attributes = struct.pack("QQQ", files, net, scoped)
    attributes = attributes[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        raise SandboxError(f"landlock: {os.strerror(ctypes.get_errno())}")
    write = READ_FILE | WRITE_FILE | READ_DIR | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG
    rules = [(path, READ) for path in readable]
    rules += [(scratch, write | TRUNCATE), ("/dev/null", READ_FILE | WRITE_FILE)]
    rules += [(path, READ_FILE) for path in ("/dev/urandom", "/dev/zero", "/proc/meminfo")]
    for path, access in rules:
        add_rule(ruleset, path, access & files)
    if libc.syscall(RESTRICT_SELF, ruleset, 0) != 0:
        raise SandboxError(f"landlock: {os.strerror(ctypes.get_errno())}")
    os.close(ruleset)


def add_rule(ruleset, path, access):
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            access &= ON_FILES
        if libc.syscall(ADD_RULE, ruleset, 1, struct.pack("=Qi", access, fd), 0) != 0:
            raise SandboxError(f"landlock, {path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)


def readable_files():
    """What stays readable at the level landlock: libraries without any installed copy of pgcourse."""
    copies = installed_copies()
    found = [p for p in (*SYSTEM, *SYSTEM_FILES) if os.path.exists(p)]
    for path in libraries():
        found += [path] if not any(is_below(c, path) for c in copies) else without(path, copies)
    return found


def without(path, excluded):
    """The parts of a directory that hold none of the excluded directories."""
    found = []
    for entry in os.scandir(path):
        if entry.path in excluded:
            continue
        if any(is_below(e, entry.path) for e in excluded):
            found += without(entry.path, excluded)
        else:
            found.append(entry.path)
    return found
