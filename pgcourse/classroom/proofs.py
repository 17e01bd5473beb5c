"""What a worker must show before it gets a submission: that the door is locked, and the room is empty.

Each is the text of a cell that runs in a session of the worker and raises what it could do.
"""

# What a sandbox must refuse. A system call counts as refused when the filter says so, not the kernel.
LOCKED = """
import ctypes, fcntl, os, socket, sys

libc = ctypes.CDLL(None, use_errno=True)
canary = os.path.join(sys.path[0], "canary")
ends = os.pipe()


def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result >= 0 or ctypes.get_errno() not in (1, 38):
        return
    raise PermissionError


def write_elsewhere():
    with open("/proc/self/mountinfo") as file:
        places = {line.split()[4] for line in file}
    for place in sorted(places - {os.getcwd()}):
        try:
            os.close(os.open(os.path.join(place, "probe"), os.O_WRONLY | os.O_CREAT))
        except OSError:
            continue
        return
    raise PermissionError


for what, attempt in {
    "the network": lambda: socket.create_connection(("127.0.0.1", 9), 1),
    "a process": os.fork,
    "a file": lambda: open("/etc/passwd").read(),
    "a write": lambda: open("/usr/pgcourse-probe", "w"),
    "a write elsewhere": write_elsewhere,
    "a library written": lambda: open(canary, "a"),
    "a library cut": lambda: os.open(canary, os.O_RDONLY | os.O_TRUNC),
    "a library cut by its name": lambda: os.truncate(canary, 0),
    "a library removed": lambda: os.unlink(canary),
    "a library renamed": lambda: os.rename(canary, canary + "2"),
    "a library's mode": lambda: os.chmod(canary, 0o777),
    "a library's times": lambda: os.utime(canary, (0, 0)),
    "a link": lambda: os.link(canary, "link"),
    "a signal": lambda: os.kill(os.getppid(), 0),
    "a signal to a group": lambda: os.killpg(0, 0),
    "a signal to a thread": lambda: call(200, 0, 0),
    "a signal with a value": lambda: call(129, os.getppid(), 0, 0),
    "a signal with a value, to a thread": lambda: call(297, os.getppid(), os.getppid(), 0, 0),
    "a signal by a descriptor": lambda: call(424, 0, 0, 0, 0),
    "a descriptor of a process": lambda: call(434, os.getppid(), 0),
    "a signal by a timer": lambda: call(222, 0, 0, 0),
    "a signal by a queue": lambda: call(244, 0, 0),
    "the owner of a pipe": lambda: fcntl.fcntl(ends[0], 8, os.getppid()),
    "the owner of a pipe, by kind": lambda: fcntl.fcntl(ends[0], 15, bytes(8)),
    "the signal of a pipe": lambda: fcntl.fcntl(ends[0], 10, 9),
    "a pipe that signals": lambda: fcntl.fcntl(ends[0], 4, 0x2000),
    "a lease": lambda: fcntl.fcntl(ends[0], 1024, 0),
    "a watch": lambda: fcntl.fcntl(ends[0], 1026, 1),
    "the owner of a socket": lambda: call(16, ends[0], 0x8901, bytes(4)),
    "the group of a socket": lambda: call(16, ends[0], 0x8902, bytes(4)),
    "a socket that signals": lambda: call(16, ends[0], 0x5452, bytes(4)),
    "a key pressed": lambda: call(16, ends[0], 0x5412, b"x"),
    "what is in memory": lambda: call(27, 0, 0, 0),
    "what is cached": lambda: call(451, 0, 0, 0, 0),
    "a read that does not wait": lambda: call(327, 0, 0, 0, 0, 0, 8),
    "a cache emptied": lambda: call(221, 0, 0, 0, 4),
    "another process's memory": lambda: call(310, os.getppid(), 0, 0, 0, 0, 0),
    "the placement of memory": lambda: (call(237, 0, 0, 0, 0, 0, 0), call(238, 0, 0, 0)),
}.items():
    try:
        attempt()
    except (OSError, ImportError):
        continue
    raise RuntimeError(what)
"""

PLACES = """
import os, sys, tempfile


def places():
    found = {os.getcwd(), tempfile.gettempdir(), sys.prefix, sys.path[0]}
    found |= {"/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/dev/mqueue", "/run"}
    try:
        with open("/proc/self/mountinfo") as file:
            found |= {line.split()[4] for line in file}
    except OSError:
        pass
    return [os.path.join(place, "left-by-the-first-session") for place in sorted(found)]
"""

# The first session leaves what it can, wherever it can, and says where it was.
LEAVE = f"""{PLACES}
for path in places():
    try:
        os.makedirs(os.path.join(path, "inside"), 0o700)
        open(os.path.join(path, "inside", "file"), "w").close()
        os.mkdir(os.path.join(path, "closed"), 0o300)
        open(path + ".txt", "w").close()
    except OSError:
        pass
raise RuntimeError(os.getcwd())
"""

# The next one must find nothing of it. WAS: where the first one was
LOOK = f"""{PLACES}
left = [path for path in places() if os.path.lexists(path) or os.path.lexists(path + ".txt")]
left += os.listdir()
was = [WAS] if WAS != os.getcwd() else []
for path in (*was, os.path.join(WAS, "left-by-the-first-session")):
    left += [path] * os.path.lexists(path)
if left:
    raise RuntimeError(f"the next session finds {{left[0]}}")
"""
