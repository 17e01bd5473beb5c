"""What the lessons say is shown by code: fast claims run with their notebook (test_notebooks), slow ones are kept."""

import json

import pytest
from nbclient.exceptions import CellExecutionError

from pgcourse.classroom import claims
from pgcourse.classroom.build import BuildError, build_lesson, sources

LESSON = """\
# %% tags=["setup"]
from pgcourse.losses import probability_ratio

# %%
half = 0.5

# %% claim="half_of_two" {slow}
# Half of two is one.
{figures}assert 2 * half == {one}

# %%
half = 0.25
"""


def lesson(root, slow="", figures="", one=1):
    path = root / "solutions" / "01_small.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(LESSON.format(slow=slow, figures=figures, one=one))
    return path


def slow(root, one=1):
    return lesson(root, "slow=true", "figures = dict(one=2 * half)\n", one)


def test_a_claim_stands_in_neither_notebook(tmp_path):
    built = build_lesson(lesson(tmp_path).read_text(), "01_small")
    for nb in (built.solved, built.learner):
        assert not any("Half of two" in cell.source for cell in nb.cells)


def test_a_claim_runs_in_its_place(tmp_path):
    path = lesson(tmp_path)
    assert [*claims.run(claims.with_claims(path, claims.claims_of(path)))] == ["half_of_two"]


def test_what_is_not_so_fails(tmp_path):
    path = lesson(tmp_path, one=2)
    with pytest.raises(CellExecutionError, match="AssertionError"):
        claims.run(claims.with_claims(path, claims.claims_of(path)))


def test_a_slow_claim_keeps_its_figures(tmp_path):
    path = slow(tmp_path)
    (claim,) = claims.claims_of(path)
    assert "has no figures yet" in claims.stale(claim, claims.kept(tmp_path))
    claims.record(path, [claim], tmp_path)
    entry = claims.kept(tmp_path)["01_small"]["half_of_two"]
    assert entry["figures"] == {"one": 1.0} and entry["says"] == "Half of two is one."
    assert claims.stale(claim, claims.kept(tmp_path)) is None
    path.write_text(path.read_text().replace("half = 0.5", "half = 2 / 4"))
    (changed,) = claims.claims_of(path)
    assert "older than the code" in claims.stale(changed, claims.kept(tmp_path))
    claims.write({"01_small": {"gone": {}}}, tmp_path)
    assert claims.kept(tmp_path) == {"01_small": {}}


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("# Half of two is one.\n", "", "its first line is a comment"),
        ("assert ", "", "it asserts nothing"),
        ('two" ', 'two" slow=true', "assigns `figures`"),
        ("# %%\nhalf = 0.25", '# %% claim="half_of_two"\n# Again.\nassert half', "two claims"),
    ],
)
def test_a_claim_that_could_not_fail_is_refused(tmp_path, old, new, says):
    path = lesson(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(BuildError, match=says):
        claims.claims_of(path)


@pytest.mark.parametrize("path", [pytest.param(p, id=p.stem) for p in sources()])
def test_slow_claims_belong_to_the_code_of_today(path):
    found = claims.claims_of(path)
    assert [s for c in found if c.slow and (s := claims.stale(c, claims.kept()))] == []


def test_the_figures_are_those_of_claims_that_there_are():
    names = {path.stem: {c.name for c in claims.claims_of(path) if c.slow} for path in sources()}
    for lesson_name, entries in claims.kept().items():
        assert set(entries) <= names[lesson_name], json.dumps([*entries])


def test_a_bet_changes_no_figure():
    """What only shows a bet is not part of the code that a recording depends on; all else is."""
    plain = "x = 1\nfor i in range(3):\n    x += i"
    with_bet = (
        plain.replace("x += i", "x += i\n    if i:\n        settle('a', x)") + "\nbet('a', '?')"
    )
    told = [
        claims.Claim("01", "c", "# so\nassert x", before, True).fingerprint()
        for before in (plain, with_bet, with_bet.replace("settle('a', x)", "x = settle('a', x)"))
    ]
    assert told[0] == told[1] != told[2]
