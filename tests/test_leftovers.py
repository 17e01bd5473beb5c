"""What a submission leaves behind is measured and removed, however it was made, by whom it may."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pgcourse.classroom import leftovers, warm

NOBODY = 65534


def deep(top, depth=3_000, name="d"):
    """Folders in folders, far beyond the longest path."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("bytes", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(fd)


def unlistable(top):
    for mode in (0o300, 0o000, 0o100, 0o200, 0o500):
        inside = Path(top, f"{mode:o}", "again")
        inside.mkdir(parents=True)
        (inside / "bytes").write_bytes(bytes(10_000))
        inside.chmod(mode)
        inside.parent.chmod(mode)


def odd_names(top):
    for name in (b"\xff\xfe", b"line\nbreak", b" ", b"-rf", b"x" * 255, "\u202e".encode()):
        os.mkdir(os.path.join(os.fsencode(top), name))
        os.close(os.open(os.path.join(os.fsencode(top), name, name), os.O_CREAT | os.O_WRONLY))


def links(top):
    for name, target in {"up": "..", "loop": "loop", "root": "/", "gone": "nowhere"}.items():
        os.symlink(target, os.path.join(top, name))


def pipes(top):
    os.mkfifo(os.path.join(top, "pipe"))


def long_path(top):
    deep(top, 30, "x" * 255)


def many(top):
    for i in range(3_000):
        os.mkdir(os.path.join(top, str(i)))


KINDS = [deep, unlistable, odd_names, links, pipes, long_path, many]


def as_nobody(act):
    """Run in a process of an ordinary user. returns: its exit code, 0 where `act` gave a true value"""
    child = os.fork()
    if not child:
        code = 2
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            code = 0 if act() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def place():
    """A directory that anybody may write in, in memory where there is one: these tests make 10^4 files."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="pgcourse-test-", dir=memory))
    path.chmod(0o777)
    yield path
    leftovers.remove(path)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("user", ["the grader", "an ordinary user"])
def test_whatever_is_left_goes(place, make, user):
    def leave_and_remove():
        home = place / "home"
        home.mkdir()
        make(home)
        return leftovers.remove(home) and not home.exists()

    assert leave_and_remove() if user == "the grader" else as_nobody(leave_and_remove) == 0


def test_what_a_link_points_to_stays(place):
    (place / "mine").mkdir()
    (place / "mine" / "file").write_text("kept")
    (place / "home" / "inside").mkdir(parents=True)
    for name in ("home/link", "home/inside/link"):
        (place / name).symlink_to(place / "mine")
    (place / "home" / "other").symlink_to(place / "mine" / "file")
    assert leftovers.remove(place / "home")
    (place / "link").symlink_to(place / "mine")
    assert leftovers.remove(place / "link")
    assert (place / "mine" / "file").read_text() == "kept"
    assert (place / "mine").stat().st_mode & 0o777 == 0o755


def test_what_is_not_there_is_gone(place):
    assert leftovers.remove(place / "nowhere")


def test_bytes_are_counted_where_they_are_hidden(place):
    def hide_and_measure():
        home = place / "home"
        home.mkdir()
        unlistable(home)
        deep(home)
        return leftovers.held_in(home, 10**9) > 5 * 10_000 + 3_000 * 4096

    assert as_nobody(hide_and_measure) == 0


def test_counting_ends_early(place):
    many(place)
    assert 10**6 < leftovers.held_in(place, 10**6) < 2 * 10**6


@pytest.fixture
def temporary(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def dead():
    """Number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("make", KINDS)
def test_homes_of_the_dead_go_and_never_stop_a_start(temporary, dead, make):
    home = temporary / f"{warm.HOME}{dead}-abc"
    (home / "scratch").mkdir(parents=True)
    make(home / "scratch")
    warm.remove_homes_of_the_dead()
    assert not home.exists()


def test_only_directories_of_one_s_own_are_homes(temporary, dead):
    (temporary / "mine").mkdir()
    (temporary / "mine" / "file").write_text("kept")
    (temporary / f"{warm.HOME}{dead}-link").symlink_to(temporary / "mine")
    somebody = temporary / f"{warm.HOME}{dead}-other"
    somebody.mkdir()
    if os.getuid() == 0:
        os.chown(somebody, NOBODY, NOBODY)
    living = temporary / f"{warm.HOME}{os.getpid()}-abc"
    living.mkdir()
    warm.remove_homes_of_the_dead()
    assert (temporary / "mine" / "file").read_text() == "kept"
    assert living.exists()
    assert somebody.exists() == (os.getuid() == 0)


def test_tidying_that_fails_stops_no_start(temporary, monkeypatch):
    monkeypatch.setattr(warm.Path, "glob", lambda *a: 1 / 0)
    warm.remove_homes_of_the_dead()
