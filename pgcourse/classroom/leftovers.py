"""What a submission leaves in a directory: measured and removed, however it was made.

Trees thousands of folders deep, paths longer than a path may be, folders that cannot be listed
(mode 0300), 10^5 files: nothing here recurses, follows a link or raises.
"""

import contextlib
import os

FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


def remove(path):
    """Remove a file or a directory with all that it holds. returns: whether nothing of it is left"""
    with contextlib.suppress(OSError):
        os.unlink(path)
    with contextlib.suppress(Exception):
        for folder, name, _ in walk(path):
            for act in (os.unlink, os.rmdir):
                with contextlib.suppress(OSError):
                    act(name, dir_fd=folder)
    with contextlib.suppress(OSError):
        os.rmdir(path)
    return not os.path.lexists(path)


def held_in(path, enough):
    """Bytes that a directory takes on the disk; what is counted beyond `enough` bytes is not exact."""
    held = 0
    with contextlib.suppress(Exception):
        for folder, name, _ in walk(path):
            held += 4096
            if held > enough:
                break
            with contextlib.suppress(OSError):
                held += 512 * os.lstat(name, dir_fd=folder).st_blocks
    return held


def walk(top):
    """(descriptor of its folder, name, whether it is a folder) of everything below a directory.

    A folder comes after what it holds, and is made listable first. One descriptor is open, however
    deep the tree is. raises: OSError if `top` is no directory, or a folder is moved meanwhile
    """
    here = enter(top)
    try:
        levels = [Level("", here)]
        while levels:
            level = levels[-1]
            while level.files:
                yield here, level.files.pop(), False
            if level.folders:
                name = level.folders.pop()
                try:
                    inside = enter(name, here)
                except OSError:
                    yield here, name, True
                    continue
                os.close(here)
                here = inside
                levels.append(Level(name, here))
            else:
                levels.pop()
                if levels:
                    above = os.open("..", FOLDER, dir_fd=here)
                    os.close(here)
                    here = above
                    if identity(here) != levels[-1].identity:
                        raise OSError("a folder was moved while it was read")
                    yield here, level.name, True
    finally:
        os.close(here)


class Level:
    """A folder on the way down: its name and identity, and what of it is still to be seen."""

    def __init__(self, name, fd):
        self.name, self.identity, self.files, self.folders = name, identity(fd), [], []
        with os.scandir(fd) as entries:
            for entry in entries:
                folder = entry.is_dir(follow_symlinks=False)
                (self.folders if folder else self.files).append(entry.name)


def identity(fd):
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def enter(name, folder=None):
    """Open a directory, never through a link; its owner may list and change it from now on."""
    if hasattr(os, "O_PATH"):
        fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            if os.fstat(fd).st_mode & 0o700 != 0o700:
                with contextlib.suppress(OSError):
                    os.chmod(f"/proc/self/fd/{fd}", 0o700)
        finally:
            os.close(fd)
    return os.open(name, FOLDER, dir_fd=folder)
