"""Who else on this machine can read a class's seed and grades."""

import contextlib
import grp
import pwd
import stat
from pathlib import Path

SECRETS = {"nbgrader_config.py": "the seed", "gradebook.db": "the grades"}


def readers(path):
    """Who can read a file beside its owner and root: "everybody", "the group staff", or "".

    What stands above it counts: a file in a directory that is closed is closed.
    """
    path, found = Path(path).resolve(), ""
    mode = path.stat().st_mode
    above = [p.stat() for p in path.parents]
    if mode & stat.S_IROTH and all(s.st_mode & stat.S_IXOTH for s in above):
        return "everybody"
    group = path.stat().st_gid
    through = all(s.st_mode & (stat.S_IXGRP if s.st_gid == group else stat.S_IXOTH) for s in above)
    if mode & stat.S_IRGRP and through and others_in(group, path.stat().st_uid):
        found = f"the group {name_of(group)}"
    return found


def others_in(group, owner):
    """Whether a group has members other than the owner: many systems give each user one of their own."""
    ids = {p.pw_uid for p in pwd.getpwall() if p.pw_gid == group}
    with contextlib.suppress(KeyError):
        for name in grp.getgrgid(group).gr_mem:
            with contextlib.suppress(KeyError):
                ids.add(pwd.getpwnam(name).pw_uid)
    return bool(ids - {owner, 0})


def name_of(group):
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def warnings(root):
    """A sentence for each secret of a class that others can read."""
    found = []
    for name, what in SECRETS.items():
        path = Path(root) / name
        who = readers(path) if path.is_file() else ""
        if who:
            found.append(f"{who} can read {what} ({path}); close it: chmod 700 {path.parent}")
    return found
