"""Bets: kept, compared, drawn, asked again; and a file that is broken, foreign or locked does no harm."""

import json
import os
import stat

import matplotlib.pyplot as plt
import pytest
import torch

from pgcourse import bets
from pgcourse.bets import Bet, ask_again, bet, load, settle


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bets, "MEMORY", {})
    monkeypatch.setattr(bets, "COMPLAINED", set())
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)


def restart():
    """As a new kernel, which knows only the file."""
    bets.MEMORY.clear()
    bets.COMPLAINED.clear()


def test_who_does_not_bet_sees_the_picture_without(tmp_path, capsys):
    bet("01 mixture", "Which p?", between=(0, 1))
    _, ax = plt.subplots()
    settle("01 mixture", 0.586, ax=ax)
    settle("01 never asked", 3, ax=ax)
    assert not ax.lines and not list(tmp_path.iterdir())
    assert capsys.readouterr().out.startswith("Which p? A number between 0 and 1.")


def test_a_number_is_kept_drawn_and_compared(capsys):
    bet("01 mixture", "Which p?", between=(0, 1), mine=0.5)
    restart()
    _, (left, right) = plt.subplots(1, 2)
    left.plot([0, 1], [0, 1], label="truth")
    left.legend()
    settle("01 mixture", torch.tensor(0.586), ax=left, along="x")
    assert left.lines[-1].get_xdata()[0] == 0.5
    assert [t.get_text() for t in left.get_legend().get_texts()] == ["truth", "your bet"]
    assert "You bet 0.5. It is 0.586: near." in capsys.readouterr().out
    settle("01 mixture", 0.586, ax=right)
    assert list(right.lines[-1].get_ydata()) == [0.5, 0.5]
    restart()
    assert load()["01 mixture"].truth == pytest.approx(0.586)


def test_a_curve_is_laid_over_the_truth():
    bet("05 cliff", "J?", between=(-8, 8), at=[0, 1, 2], mine=[0, 4, 8])
    _, ax = plt.subplots()
    settle("05 cliff", torch.tensor([0.0, 0.0, -8.0]), ax=ax)
    assert list(ax.lines[-1].get_xdata()) == [0, 1, 2]
    assert list(ax.lines[-1].get_ydata()) == [0, 4, 8]
    assert load()["05 cliff"].off == pytest.approx((0 + 4 / 16 + 1) / 3)


@pytest.mark.parametrize(
    "kind, mine, says",
    [
        ({"among": ["a", "b"]}, "c", "expected one of"),
        ({"between": (0, 1)}, float("nan"), "expected numbers between 0 and 1"),
        ({"between": (0, 1), "at": [1, 2]}, [0.5], "expected 2 numbers"),
    ],
)
def test_what_is_no_answer_is_refused_in_words(kind, mine, says):
    with pytest.raises(ValueError, match=says):
        bet("01 x", "?", **kind, mine=mine)
    assert load() == {}


def test_a_later_lesson_asks_the_two_that_were_furthest_off(monkeypatch, capsys):
    for name, mine, truth in (
        ("01 far", 0.0, 0.9),
        ("01 near", 0.5, 0.6),
        ("02 furthest", 1.0, 0.0),
        ("02 third", 0.5, 0.0),
        ("05 later", 0.0, 1.0),
    ):
        bet(name, f"{name}?", between=(0, 1), mine=mine)
        settle(name, truth)
    bet("02 unsettled", "?", between=(0, 1), mine=0)
    asked = []
    monkeypatch.setattr(bets, "ask", lambda b, answered: asked.append((b, answered)))
    ask_again("03")
    assert [b.name for b, _ in asked] == ["02 furthest", "01 far"]
    assert all(b.mine is None for b, _ in asked)  # the old answer is not shown
    says = asked[0][1](0.1)
    assert "it was 0. In lesson 2 you bet 1: this is nearer than then." in says
    restart()
    asked.clear()
    ask_again("03")  # what was answered is not asked a third time, and the old bet stands
    assert [b.name for b, _ in asked] == ["01 far", "02 third"]
    assert load()["02 furthest"].mine == 1.0 and load()["02 furthest"].asked


def test_a_wrong_choice_is_as_far_off_as_can_be():
    assert Bet("01 x", "?", among=["a", "b"], mine="a", truth="b").off == 1
    assert Bet("01 x", "?", among=["a", "b"], mine="a", truth="a").off == 0


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "3", '{"grades": 1}', "\ufffd\x00", "[" * 100_000],
    ids=["broken", "list", "number", "foreign", "bytes", "deep"],
)
def test_a_file_that_is_no_file_of_bets_is_left_as_it_is(tmp_path, capsys, text):
    file = tmp_path / bets.FILE
    file.write_text(text, encoding="utf-8")
    bet("01 x", "?", between=(0, 1), mine=1)
    settle("01 x", 0)
    assert load()["01 x"].off == 1  # it lasts as long as the kernel
    assert file.read_text(encoding="utf-8") == text
    assert capsys.readouterr().out.count("It is left as it is") == 1


def test_strange_records_are_passed_over_and_good_ones_kept(tmp_path):
    good = {"name": "01 x", "question": "?", "between": [0, 1], "mine": 0.5, "of the future": 1}
    strange = [None, 3, {}, {"name": 1, "question": 2}, good | {"name": "b", "mine": "many"},
               good | {"name": "c", "between": None}, {"name": "d", "question": "?", "among": 3, "mine": 1}]  # fmt: skip
    (tmp_path / bets.FILE).write_text(json.dumps({"bets": [*strange, good]}))
    assert list(load()) == ["01 x"]
    (tmp_path / bets.FILE).write_text(json.dumps({"bets": {"a": 1}}))
    assert load() == {}


def test_a_file_that_cannot_be_written_costs_nothing(tmp_path, monkeypatch, capsys):
    def locked(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(bets.os, "replace", locked)
    bet("01 x", "?", between=(0, 1), mine=1)
    settle("01 x", 0)
    assert "cannot be written" in capsys.readouterr().out
    assert not list(tmp_path.iterdir()) and load()["01 x"].truth == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_locked_folder_costs_nothing(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    bet("01 x", "?", between=(0, 1), mine=1)
    assert load()["01 x"].mine == 1


def test_two_notebooks_share_the_file():
    bet("01 x", "?", between=(0, 1), mine=1)
    restart()
    bet("02 y", "?", between=(0, 1), mine=0)
    restart()
    assert list(load()) == ["01 x", "02 y"]


def test_grading_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    bet("01 x", "?", between=(0, 1), mine=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["number", "choice", "curve"])
def test_the_widget_keeps_what_is_chosen(kind):
    asked = {
        "number": Bet("01 x", "A < B?", between=[0, 10]),
        "choice": Bet("01 x", "A < B?", among=["a", "b"]),
        "curve": Bet("01 x", "A < B?", between=[0, 10], at=[1, 2]),
    }[kind]
    form = bets.form(asked, lambda value: bets.place(asked, value))
    title, *parts, said = form.children
    assert "A &lt; B?" in title.value and load() == {}  # shown is not placed
    if kind == "choice":
        parts[0].value = "b"
        expected = "b"
    else:
        for slider in parts[:-1]:
            assert slider.description
            slider.value = 7
        assert load() == {}
        parts[-1].click()
        expected = 7 if kind == "number" else [7, 7]
    assert load()["01 x"].mine == expected and "Your bet" in said.value
