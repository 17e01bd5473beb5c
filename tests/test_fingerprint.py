"""What is recorded knows the code it came from: a change there is seen, one of words or elsewhere is not."""

import pytest

from pgcourse import fingerprint
from pgcourse.fingerprint import Unit, follow

PACKAGE = {
    "pgcourse.low": "import torch\nSCALE = 2\ndef half(x):\n    return x / SCALE\ndef other(x):\n    return x\n",
    "pgcourse.high": "from pgcourse import low\ndef made(x):\n    'Words.'\n    return low.half(x)\n",
    "pgcourse.again": "from pgcourse.high import made as renamed\ndef all(x):\n    return renamed(x)\n",
}


def of(monkeypatch, name, **changed):
    """The fingerprint of a name in a package of three small modules, some of them changed."""
    files = PACKAGE | {f"pgcourse.{short}": text for short, text in changed.items()}
    monkeypatch.setattr(
        fingerprint, "unit_of", lambda module: Unit(files[module]) if module in files else None
    )
    return fingerprint.fingerprint(name)


def edited(module, old, new):
    text = PACKAGE[f"pgcourse.{module}"]
    assert text.count(old) == 1
    return {module: text.replace(old, new)}


@pytest.mark.parametrize("name", ["pgcourse.again.all", "pgcourse.high.made", "pgcourse.high"])
@pytest.mark.parametrize(
    "change, seen",
    [
        (edited("low", "x / SCALE", "x * SCALE"), True),
        (edited("low", "SCALE = 2", "SCALE = 3"), True),
        (edited("low", "SCALE = 2", "SCALE = 2  # why"), False),
        (edited("low", "    return x\n", "    return -x\n"), False),
        (edited("high", "'Words.'", "'Other words.'"), False),
        (edited("high", "low.half(x)", "low.other(x)"), True),
        (edited("low", "half(x)", "half(x: float) -> float"), False),
        (edited("low", "half(x)", "half(x=1)"), True),
    ],
)
def test_a_change_of_what_is_reached_is_seen(monkeypatch, name, change, seen):
    assert (of(monkeypatch, name) != of(monkeypatch, name, **change)) == seen


def test_a_script_is_followed_from_its_last_statements(monkeypatch):
    before = "from pgcourse.losses import ppo_clip_loss\nclip = 0.2\nunused = 1"
    use = "loss = ppo_clip_loss(x, x, x, clip)"
    today = fingerprint.fingerprint(code=(before, use))
    assert today != fingerprint.fingerprint(code=(before.replace("0.2", "0.3"), use))
    assert today == fingerprint.fingerprint(code=(before.replace("unused = 1", "unused = 2"), use))
    seen = {}
    follow(Unit(f"{before}\n{use}"), Unit(f"{before}\n{use}").statements[-1], seen)
    assert any(key.startswith("pgcourse.tensors: ") for key in seen)  # masked_mean, two modules on


def test_only_parts_of_the_package_have_one():
    for name in ("torch.nn", "pgcourse.losses.no_such_loss"):
        with pytest.raises(ValueError, match="expected the name of a part of pgcourse"):
            fingerprint.fingerprint(name)


def test_a_data_file_that_is_named_belongs_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "DATA", tmp_path)
    (tmp_path / "model.pt").write_bytes(b"one")
    one = fingerprint.fingerprint(code=("", 'load("model")'))
    (tmp_path / "model.pt").write_bytes(b"two")
    assert fingerprint.fingerprint(code=("", 'load("model")')) != one


def test_a_recording_of_other_code_is_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "DATA", tmp_path)
    monkeypatch.setattr(fingerprint, "MADE", tmp_path / "made.json")
    fingerprint.note("curves.npz", "make them", "pgcourse.losses.ppo_clip_loss")
    assert "run make them" in fingerprint.stale()[0]  # not there
    (tmp_path / "curves.npz").write_bytes(b"")
    assert fingerprint.stale() == []
    text = fingerprint.MADE.read_text().replace('"fingerprint": "', '"fingerprint": "0')
    fingerprint.MADE.write_text(text)
    assert fingerprint.stale() == ["pgcourse/data/curves.npz is older than its code: run make them"]


def test_what_is_shipped_belongs_to_the_code_of_today():
    assert fingerprint.stale() == []


def test_whatever_is_recorded_has_a_note():
    words = {
        "made.json",
        "checkpoints.json",
    }  # the notes themselves, and facts about the two models
    recorded = {path.name for path in fingerprint.DATA.iterdir() if path.is_file()} - words
    assert set(fingerprint.read_notes()) == recorded
