"""A class whose seed or grades others can read is warned about."""

import os
import stat

import pytest

from pgcourse.classroom import secrecy


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A class below directories that everybody may pass through."""
    root = tmp_path / "class"
    root.mkdir()
    for name in secrecy.SECRETS:
        (root / name).write_text("secret")
    # pytest's own directories are closed; here they count as open
    real = secrecy.Path.stat

    def opened(self, **kw):
        s = real(self, **kw)
        if self == root or root in self.parents:
            return s
        return os.stat_result((s.st_mode | 0o755, *s[1:]))

    monkeypatch.setattr(secrecy.Path, "stat", opened)
    return root


def close(root, folder, file):
    root.chmod(folder)
    for name in secrecy.SECRETS:
        (root / name).chmod(file)


@pytest.mark.parametrize(
    "folder, file, warned",
    [(0o755, 0o644, True), (0o711, 0o604, True), (0o700, 0o644, False), (0o755, 0o600, False)],
)
def test_whoever_may_pass_through_and_read(folder, file, warned, root):
    close(root, folder, file)
    lines = secrecy.warnings(root)
    assert len(lines) == 2 * warned
    assert all("everybody can read the " in line and f"chmod 700 {root}" in line for line in lines)


def test_a_group_counts_that_has_other_members(root, monkeypatch):
    close(root, 0o750, 0o640)
    monkeypatch.setattr(secrecy, "others_in", lambda group, owner: False)
    assert secrecy.warnings(root) == []  # a user's own group
    monkeypatch.setattr(secrecy, "others_in", lambda group, owner: True)
    lines = secrecy.warnings(root)
    assert len(lines) == 2 and "the group " in lines[0]
    close(root, 0o700, 0o640)
    assert secrecy.warnings(root) == []


def test_a_users_own_group_has_nobody_else_in_it(monkeypatch):
    class Entry:
        def __init__(self, **about):
            vars(self).update(about)

    users = {"ada": 1001, "ben": 1002, "cleo": 1003}
    people = [Entry(pw_name=n, pw_uid=i, pw_gid=i) for n, i in users.items()]
    groups = {1001: [], 2000: ["ada"], 2001: ["ada", "ben"], 2002: ["nobody-here"]}
    monkeypatch.setattr(secrecy.pwd, "getpwall", lambda: people)
    monkeypatch.setattr(
        secrecy.pwd, "getpwnam", lambda n: next(iter([p for p in people if p.pw_name == n]))
    )
    monkeypatch.setattr(secrecy.grp, "getgrgid", lambda g: Entry(gr_mem=groups[g], gr_name=str(g)))
    with_others = {g: secrecy.others_in(g, owner=1001) for g in (1001, 2000, 2001)}
    assert with_others == {1001: False, 2000: False, 2001: True}
    assert secrecy.others_in(1001, owner=1002)


def test_the_command_says_it(root, capsys):
    from pgcourse.cli import app

    close(root, 0o755, 0o644)
    with pytest.raises(SystemExit):
        app(["grade", str(root), "05_ppo"])  # it is no class: the warning comes first all the same
    assert "Warning: everybody can read the seed" in capsys.readouterr().err
    assert stat.S_IMODE(root.stat().st_mode) == 0o755  # it only says so
