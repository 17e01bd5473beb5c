"""Which system calls a submission may make (seccomp, x86-64): those that computing takes, no others.

A list of what is allowed, so that what a newer kernel adds is refused. Nothing in it starts a process,
sends a signal to anybody else, opens a socket, asks what the kernel holds in its caches, or changes the
owner, mode or times of a file. Where a call is allowed with some arguments only, RULES says which.
"""

import ctypes
import os
import struct

ALLOWED = {
    # read write close fstat poll lseek pread pwrite readv writev pipe select dup dup2 sendfile fsync
    # fdatasync ftruncate pselect6 ppoll epoll_* eventfd* dup3 pipe2 preadv pwritev close_range
    "open files": (
        0, 1, 3, 5, 7, 8, 17, 18, 19, 20, 22, 23, 32, 33, 40, 74, 75, 77, 213, 232, 233, 270, 271, 281,
        284, 290, 291, 292, 293, 295, 296, 436,
    ),
    # stat lstat access getdents getcwd chdir fchdir rename mkdir rmdir creat unlink readlink statfs fstatfs
    # getdents64 mkdirat newfstatat unlinkat renameat readlinkat faccessat renameat2 statx faccessat2
    "names of files": (
        4, 6, 21, 78, 79, 80, 81, 82, 83, 84, 85, 87, 89, 137, 138, 217, 258, 262, 263, 264, 267, 269,
        316, 332, 439,
    ),
    # mmap mprotect munmap brk mremap msync get_mempolicy membarrier
    "memory": (9, 10, 11, 12, 25, 26, 239, 324),
    # rt_sigaction rt_sigprocmask rt_sigreturn pause rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack
    # restart_syscall
    "signals to oneself": (13, 14, 15, 34, 127, 128, 130, 131, 219),
    # nanosleep getitimer alarm setitimer gettimeofday times time clock_gettime clock_getres clock_nanosleep
    "time": (35, 36, 37, 38, 96, 100, 201, 228, 229, 230),
    # sched_yield exit wait4 futex set_tid_address exit_group waitid set_robust_list get_robust_list
    # arch_prctl rseq
    "threads": (24, 60, 61, 158, 202, 218, 231, 247, 273, 274, 334),
    # sendto recvfrom shutdown getsockname getpeername getsockopt: the one socket, to the judge
    "the wire": (44, 45, 48, 51, 52, 55),
    # getpid uname umask getrlimit getrusage sysinfo getuid getgid geteuid getegid getppid getpgrp getgroups
    # getresuid getresgid getpgid getsid getpriority sched_getparam sched_getscheduler
    # sched_get_priority_max sched_get_priority_min gettid sched_getaffinity getcpu sched_getattr getrandom
    "who and where": (
        39, 63, 95, 97, 98, 99, 102, 104, 107, 108, 110, 111, 115, 118, 120, 121, 124, 140, 143, 145, 146,
        147, 186, 204, 309, 315, 318,
    ),
}  # fmt: skip

KILL_PROCESS, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
EPERM, ENOSYS = 1, 38
LOAD, AND, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, X86_64, X32_BIT = 0, 4, 0xC000003E, 0x40000000
NEWER = 424  # numbers from here on: libraries ask for them first, and do without
PR_SET_SECCOMP = 22

OPEN, CLONE, KILL, FCNTL, IOCTL = 2, 56, 62, 72, 16
MADVISE, PRCTL, TGKILL, OPENAT, PRLIMIT = 28, 157, 234, 257, 302
CLONE_THREAD = 0x00010000
O_ACCMODE, O_TRUNC, O_ASYNC = 3, 0x200, 0x2000
F_SETFL = 4
# F_DUPFD F_GETFD F_SETFD F_GETFL F_DUPFD_CLOEXEC F_GETPIPE_SZ: no owner, no signal, no lease, no lock
FCNTLS = (0, 1, 2, 3, 1030, 1032)
IOCTLS = (
    0x5401,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
)  # isatty, its size, FIONREAD, FIONBIO, FIO(N)CLEX
# none that moves pages of files out of memory, or compares them with other processes'
ADVICES = (0, 1, 2, 3, 4, 8, 14, 15, 16, 17, 18, 19, 102, 103)
PRCTLS = (15, 16, 0x53564D41)  # names of threads and of memory


def argument(i):
    """Lower half of a call's argument."""
    return (LOAD, 0, 0, 16 + 8 * i)


REFUSE = (RETURN, 0, 0, ERRNO | EPERM)
PERMIT = (RETURN, 0, 0, ALLOW)


def one_of(i, values):
    """Steps that allow a call whose argument i is one of these, and refuse the others."""
    steps = [argument(i)]
    for value in values:
        steps += [(EQUAL, 0, 1, value), PERMIT]
    return [*steps, REFUSE]


def no_cutting_by_reading(i):
    """Of open: O_TRUNC without writing empties a file that Landlock before its version 3 lets be read."""
    cut = [(ANY_BIT, 1, 0, O_TRUNC), PERMIT, (AND, 0, 0, O_ACCMODE)]
    return [argument(i), *cut, (EQUAL, 1, 0, 1), (EQUAL, 0, 1, 2), PERMIT, REFUSE]


def rules(pid):
    """{number: steps} of the calls that are allowed with some arguments only."""
    flags = [argument(1), (EQUAL, 0, 3, F_SETFL), argument(2), (ANY_BIT, 0, 1, O_ASYNC)]
    return {
        OPEN: no_cutting_by_reading(1),
        OPENAT: no_cutting_by_reading(2),
        CLONE: [argument(0), (ANY_BIT, 0, 1, CLONE_THREAD), PERMIT, REFUSE],
        KILL: one_of(0, [pid]),
        TGKILL: one_of(0, [pid]),
        PRLIMIT: one_of(0, [0]),
        FCNTL: [*flags, REFUSE, *one_of(1, [*FCNTLS, F_SETFL])],
        IOCTL: one_of(1, IOCTLS),
        MADVISE: one_of(2, ADVICES),
        PRCTL: one_of(0, PRCTLS),
    }


def program(pid):
    """The filter as steps (code, jump if true, jump if false, value)."""
    steps = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, X86_64),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, X32_BIT),
        (RETURN, 0, 0, KILL_PROCESS),
    ]
    for number in sorted(n for numbers in ALLOWED.values() for n in numbers):
        steps += [(EQUAL, 0, 1, number), PERMIT]
    for number, rule in rules(pid).items():
        steps += [(EQUAL, 0, len(rule), number), *rule]
    return [*steps, (AT_LEAST, 0, 1, NEWER), (RETURN, 0, 0, ERRNO | ENOSYS), REFUSE]


def restrict(libc):
    """Allow this process, for good, what is ALLOWED, with threads but no processes. raises: OSError"""
    steps = program(os.getpid())
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    fprog = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    if libc.prctl(PR_SET_SECCOMP, 2, ctypes.c_char_p(fprog), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
