"""course/README.md tells the truth: its links lead somewhere, and its minutes are those of the lessons."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "course" / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| \[(\d) · [^]]+\]\((\S+)\.ipynb\) \|[^|]*\| (\d+) \|", TEXT, flags=re.M)


def test_every_lesson_has_a_row():
    lessons = [path.stem for path in sorted((ROOT / "solutions").glob("[0-9]*.py"))]
    assert [name for _, name, _ in ROWS] == lessons


@pytest.mark.parametrize("number, name, minutes", ROWS)
def test_link_and_minutes(number, name, minutes):
    assert (ROOT / "course" / f"{name}.ipynb").exists()
    source = (ROOT / "solutions" / f"{name}.py").read_text(encoding="utf-8")
    text = re.sub(r"\n# ?", " ", source)
    assert f"# {number} · " in source
    says = f"About {minutes} minutes", {"120": "About two hours"}.get(minutes, "nothing else")
    assert any(words in text for words in says)
