"""What a worker may do: nothing but compute.

Two levels isolate; the strongest that works on this machine is used, and every report names it.

    bubblewrap  own mounts (libraries read-only, nothing of the class), own processes, no network
    landlock    the same file system, of which only the libraries can be read and nothing written

Both add seccomp (no new process, no socket, no signal to others …), limits on memory, CPU, file
size and open files, and another user where the grader is root. `none` only has the limits.

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

try:
    import resource
except ImportError:  # Windows: nothing here works, and nothing is tried
    resource = None

LEVELS = ("bubblewrap", "landlock", "none")
SCRATCH_BYTES = 64 * 2**20  # files that a worker may hold in its scratch directory
OPEN_FILES = 256
THREADS = 128


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
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives",
                "/etc/localtime", "/etc/fonts")  # fmt: skip


def command(level, package, scratch, inner):
    """The argv that runs `inner` (an argv) at a level.

    package : directory that holds the worker's own pgcourse
    scratch : the worker's writable directory, emptied between submissions
    """
    if level != "bubblewrap":
        return inner
    argv = ["bwrap", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    argv += ["--unshare-cgroup-try", "--as-pid-1", "--die-with-parent", "--new-session"]
    if os.getuid():
        argv += ["--unshare-user"]
    else:  # the warm process changes the user of its children, ends them and sweeps up behind them
        for capability in ("SETUID", "SETGID", "KILL", "CHOWN", "DAC_OVERRIDE", "FOWNER"):
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
        argv += ["--tmpfs", path]
    argv += ["--ro-bind", str(package), str(package), "--proc", "/proc", "--dev", "/dev"]
    for path in ("/dev/shm", str(scratch)):
        argv += ["--size", str(SCRATCH_BYTES), "--tmpfs", path]
    return [
        *argv,
        "--remount-ro",
        "/dev",
        "--remount-ro",
        "/",
        "--chdir",
        str(scratch),
        "--",
        *inner,
    ]


def installed_copies():
    """pgcourse inside site-packages (an installation that is no clone): the answers are in there."""
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return sorted({str(p) for place in places for p in Path(place).glob("pgcourse*") if p.is_dir()})


# ------------------------------------------------------------------------------------- inside

libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 4, 22
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
    scratch  : the one writable directory
    readable : directories and files that stay readable (at the level landlock)
    """
    set_limits(memory, seconds)
    if os.getuid() == 0:
        become_nobody(user, scratch)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if level == "landlock":
        restrict_files(scratch, readable)
    if level != "none":
        filter_system_calls()


def set_limits(memory, seconds):
    held = 0
    with contextlib.suppress(OSError):
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    if held:  # elsewhere (macOS) an address space has no limit that holds
        limit(resource.RLIMIT_AS, held + memory)
    limit(resource.RLIMIT_CPU, seconds)
    limit(resource.RLIMIT_FSIZE, SCRATCH_BYTES)
    limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    limit(resource.RLIMIT_CORE, 0)


def limit(which, most):
    hard = resource.getrlimit(which)[1]
    most = int(most) if hard == resource.RLIM_INFINITY else min(int(most), hard)
    resource.setrlimit(which, (most, most))


def become_nobody(user, scratch):
    """Become a user to whom nothing belongs; where that one could not read the libraries, stay root
    without any capability."""
    if others_can_reach(sys.prefix) and others_can_reach(sys.base_prefix):
        os.chown(scratch, user, user)
        limit(resource.RLIMIT_NPROC, THREADS)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = struct.pack("Ii", 0x20080522, 0)
    if libc and libc.capset(header, struct.pack("6I", *[0] * 6)) != 0:
        raise SandboxError(f"capset: {os.strerror(ctypes.get_errno())}")


def others_can_reach(path):
    path = Path(os.path.realpath(path))
    return all(p.stat().st_mode & 0o005 == 0o005 for p in (path, *path.parents) if p.is_dir())


# --- Landlock: which files ---

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, TRUNCATE = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 14
READ = EXECUTE | READ_FILE | READ_DIR
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446


def landlock_version():
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1) if libc else -1
    return max(version, 0)


def restrict_files(scratch, readable):
    """Read `readable`, write in `scratch`, open nothing else; no TCP; no signal to anyone outside."""
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


# --- seccomp: which system calls (x86-64) ---

KILL_PROCESS, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
EPERM, ENOSYS = 1, 38
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24
X86_64, X32_BIT = 0xC000003E, 0x40000000
CLONE, KILL, TGKILL, PRLIMIT, IOCTL, CLONE3 = 56, 62, 234, 302, 16, 435
CLONE_THREAD, TIOCSTI, TIOCLINUX = 0x00010000, 0x5412, 0x541C
DENIED = {
    "processes": (57, 58, 59, 322),  # fork vfork execve execveat
    "signals to others": (129, 200, 297, 424),
    "other processes": (101, 310, 311, 312, 434, 438, 440),  # ptrace, process_vm_*, pidfd_*
    "network": (41, 53),  # socket socketpair
    "shared memory and queues": (29, 30, 31, 64, 65, 66, 68, 69, 70, 71, 220, 240, 319, 447),
    "owners, modes and times of files": (
        90, 91, 92, 93, 94, 132, 188, 189, 190, 197, 198, 199, 235, 260, 261, 268, 280, 452, 463, 466,
    ),
    "files by other ways": (76, 133, 259, 303, 304),  # truncate mknod name_to_handle_at …
    "mounts and namespaces": (
        155, 161, 165, 166, 272, 308, 428, 429, 430, 431, 432, 433, 442, 467,
    ),
    "priorities and placement": (141, 142, 144, 203, 251, 256, 279, 314),
    "the kernel's inner life": (
        103, 135, 154, 159, 163, 164, 167, 168, 169, 170, 171, 172, 173, 175, 176, 179, 227, 246,
        248, 249, 250, 298, 300, 305, 313, 320, 321, 323, 425, 426, 427,
    ),
}  # fmt: skip


def filter_system_calls():
    """Refuse what is DENIED; threads, but no processes; signals and limits only for oneself."""
    refuse = (RETURN, 0, 0, ERRNO | EPERM)
    allow = (RETURN, 0, 0, ALLOW)
    program = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, X86_64),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, X32_BIT),
        (RETURN, 0, 0, KILL_PROCESS),
        (EQUAL, 0, 1, CLONE3),  # its flags lie in memory, unseen; libraries fall back to clone
        (RETURN, 0, 0, ERRNO | ENOSYS),
    ]
    for number in sorted(n for numbers in DENIED.values() for n in numbers):
        program += [(EQUAL, 0, 1, number), refuse]
    first = (LOAD, 0, 0, FIRST_ARGUMENT)
    program += [(EQUAL, 0, 4, CLONE), first, (ANY_BIT, 0, 1, CLONE_THREAD), allow, refuse]
    for number, allowed in ((KILL, os.getpid()), (TGKILL, os.getpid()), (PRLIMIT, 0)):
        program += [(EQUAL, 0, 4, number), first, (EQUAL, 0, 1, allowed), allow, refuse]
    second = (LOAD, 0, 0, SECOND_ARGUMENT)
    program += [(EQUAL, 0, 4, IOCTL), second, (EQUAL, 1, 0, TIOCSTI), (EQUAL, 0, 1, TIOCLINUX)]
    program += [refuse, allow]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    fprog = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    if libc.prctl(PR_SET_SECCOMP, 2, ctypes.c_char_p(fprog), 0, 0) != 0:
        raise SandboxError(f"seccomp: {os.strerror(ctypes.get_errno())}")
