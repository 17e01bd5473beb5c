"""The drill: a function with one mistake in it, whether its line was found, and when it comes back."""

import json
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from pgcourse import drill as room
from pgcourse.checks import all_exercises, get, judge
from pgcourse.checks.edits import run_text
from pgcourse.classroom import progress
from pgcourse.drill import Drill, tasks

NAMES = ["probability_ratio", "ppo_clip_loss", "rloo_advantages"]
DAY = timedelta(days=1)


def task(exercise="ppo_clip_loss", mistake="maximum"):
    return tasks(get(exercise))[mistake]


def opened(folder, exercise, mistake):
    drill = Drill(folder)
    drill.kept["asked"] = dict(exercise=exercise, mistake=mistake, tries=0, helped=False)
    drill.save()
    return drill


def test_every_lesson_has_functions_to_mend_and_their_mistakes_are_in_some_line():
    for name, exercise in all_exercises().items():
        for mistake, one in tasks(exercise).items():
            assert one.places and one.line and one.difference(), f"{name}: {mistake}"
    assert {e.lesson for e in all_exercises().values() if tasks(e)} >= {"05_ppo", "07_rlhf"}


def test_what_is_given_is_wrong_and_the_answer_mends_it():
    one = task()
    assert judge(run_text(one.text, one.exercise.reference), one.exercise).pitfall == "maximum"
    assert one.judged(one.right) == (True, True, "Found and mended.")
    assert "torch.maximum" in one.line and "larger of the two" in one.answer()


@pytest.mark.parametrize(
    "old, new, found, says",
    [
        ("maximum", "maximum", False, "Nothing was changed"),
        ("1 + clip", "1 + clip + 0", False, "in another line."),
        ("torch.maximum", "-torch.minimum", True, "That is the line, but it is not right yet."),
        ("torch.maximum", "torch.minimum(", True, "It does not run: SyntaxError"),
        ("def ppo_clip_loss", "def another", False, "It does not run: NameError"),
    ],
)
def test_an_attempt_is_told_whether_its_line_is_the_one(old, new, found, says):
    one = task()
    passed, is_found, sentence = one.judged(one.text.replace(old, new))
    assert (passed, is_found) == (False, found) and says in sentence
    if not found:  # the sentence of the mistake is not given away
        assert "larger of the two" not in sentence


def test_a_line_that_is_missing_is_found_where_it_is_put_in():
    one = task("kl_shaped_rewards", "no score")
    assert one.judged(one.right)[:2] == (True, True)


def test_what_is_overdue_comes_first_then_what_is_new_then_what_is_due_soonest(tmp_path):
    drill, now = Drill(tmp_path), datetime.now(UTC)

    def card(due):
        return room.Card(due=now + due).to_dict()

    assert drill.choose([]) is None
    assert drill.choose(["quiz_clip"]) is None  # nothing in it can be mended
    assert drill.choose(NAMES, now).exercise.name == "probability_ratio"
    drill.kept["cards"] = {"probability_ratio": card(DAY), "ppo_clip_loss": card(-DAY)}
    assert drill.choose(NAMES, now).exercise.name == "ppo_clip_loss"
    drill.kept["cards"]["ppo_clip_loss"] = card(2 * DAY)
    assert drill.choose(NAMES, now).exercise.name == "rloo_advantages"
    assert drill.choose(NAMES[:2], now).exercise.name == "probability_ratio"


def test_a_missed_mistake_comes_back_but_not_at_once_and_none_twice_before_all_were_seen(tmp_path):
    drill = Drill(tmp_path)
    everything = len(tasks(get("rloo_advantages")))
    seen = []
    for i in range(everything):
        seen.append(drill.ask("rloo_advantages").mistake.name)
        drill.answered(passed=i != 3)
    assert seen[5] == seen[3] or seen[4] != seen[3]
    assert seen.count(seen[3]) == 2 and len({*seen}) == everything - 1
    last = drill.ask("rloo_advantages").mistake.name
    assert last not in seen  # the one that is left
    drill.answered(True)
    assert drill.ask("rloo_advantages").mistake.name == seen[0]  # seen the longest ago


def test_what_went_well_comes_back_later_and_what_was_missed_soon(tmp_path):
    due = {}
    for how, tries, passed in [("at once", 1, True), ("later", 3, True), ("not", 1, False)]:
        drill = opened(tmp_path, "rloo_advantages", "sign")
        drill.kept["cards"] = {}
        drill.kept["asked"]["tries"] = tries
        due[how] = drill.answered(passed)
        assert drill.kept["log"][-1]["how"] == how
    assert due["not"] < due["later"] < due["at once"]
    assert due["at once"] - due["not"] > DAY
    assert room.again(due["not"]) == "It comes back in 10 minutes."
    kept = json.loads((tmp_path / room.FILE).read_text())
    assert len(kept["log"]) == 3 and kept["asked"] is None


def test_a_notebook_is_judged_again_only_when_it_has_changed(tmp_path, monkeypatch):
    saved, judged = {"05_ppo.ipynb": b"one"}, []
    monkeypatch.setattr(progress, "read", lambda path, source: saved.get(path.name))

    def verdicts(data, source):
        judged.append(data)
        passed = dict(probability_ratio=True, entropy=data == b"two")
        return {name: dict(passed=ok) for name, ok in passed.items()}, ""

    monkeypatch.setattr(progress, "judged", verdicts)
    drill = Drill(tmp_path)
    assert drill.done() == drill.done() == ["probability_ratio"]
    drill.save()
    saved["05_ppo.ipynb"] = b"two"
    assert Drill(tmp_path).done() == ["probability_ratio", "entropy"]
    assert judged == [b"one", b"two"]


def rloo_advantages(score):
    return (score - (score.sum(0) - score) / (len(score) - 1)).detach()


def test_in_a_notebook_it_is_written_into_the_next_cell_and_judged_there(
    tmp_path, monkeypatch, capsys
):
    cells = []
    shell = SimpleNamespace(set_next_input=cells.append)
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    room.start(tmp_path, ["07_rlhf"])
    assert "def token_logp" in cells[0] and cells[0].endswith("drill.mended(token_logp)")
    opened(tmp_path, "rloo_advantages", "sign")
    room.mended(lambda: None, tmp_path)
    assert "No such function is open" in capsys.readouterr().out
    room.mended(rloo_advantages, tmp_path)  # without its guard
    assert "not right yet" in capsys.readouterr().out
    room.give_up(tmp_path)
    out = capsys.readouterr().out
    assert "It is the baseline minus the score." in out and "10 minutes" in out
    room.give_up(tmp_path)
    assert "Nothing is open" in capsys.readouterr().out


def run(folder, *args, editor="", lines=""):
    from typer import Typer

    from pgcourse.classroom.drill import command

    app = Typer()
    app.command()(command)
    env = dict(EDITOR=editor, VISUAL="", COLUMNS="300")
    return CliRunner().invoke(app, [str(folder), *args], env=env, input=lines)


def test_in_a_terminal_it_opens_in_the_editor(tmp_path):
    mender = tmp_path / "mender.py"
    mender.write_text(
        "import sys\nfrom pathlib import Path\nfrom pgcourse.drill import Drill\n"
        "path = Path(sys.argv[1])\ntask = Drill(path.parent).asked()\n"
        "text = path.read_text()\nassert task.text in text\n"
        "path.write_text(text.replace(task.text, task.right))\n"
    )
    done = run(tmp_path, "--lesson", "05_ppo", "--count", "2", editor=f"{sys.executable} {mender}")
    assert done.exit_code == 0, done.output
    assert "2. ppo_clip_loss" in done.output and done.output.count("✓ Found and mended.") == 2
    assert done.output.count("comes back in 2 days") == 2
    assert "2 of 2 mended at the first try." in done.output
    assert not (tmp_path / "my_drill.py").exists()


def test_without_an_editor_it_is_a_file_and_one_may_ask_give_up_and_stop(tmp_path):
    done = run(tmp_path, "--lesson", "05_ppo", lines="\nl\n\ng\n\nq\n")
    assert done.exit_code == 0, done.output
    assert (
        "Nothing was changed yet." in done.output and "It comes back in 10 minutes." in done.output
    )
    assert "0 of 1 mended" in done.output
    assert run(tmp_path, "--lesson", "08").exit_code == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = run(empty)
    assert nothing.exit_code == 1 and "no exercise passes" in nothing.output
