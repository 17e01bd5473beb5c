"""The benchmark compares what it says: every row has settings, plain nbgrader is really configured."""

import json
import os

import pytest
from traitlets.config import PyFileConfigLoader

from pgcourse.bench import grading, run, steady
from pgcourse.bench.rows import AS_THEIRS, ROWS, SB3, SBX, STEADY, our_config, their_settings


@pytest.mark.parametrize("row", ROWS, ids=lambda row: run.name(*row))
def test_a_row_has_settings_on_both_sides(row):
    terms, algo, env, peer, target = row
    module, config = our_config(terms, algo, env, seed=3)
    assert module.__name__.startswith("pgcourse.") and (config.env, config.seed) == (env, 3)
    if peer == SB3:
        theirs = their_settings(terms, algo, env)
        assert theirs["algo"] == algo.upper() and theirs["total_steps"] > 0
        if terms == "ours":
            assert theirs["n_envs"] == config.n_envs and theirs["gamma"] == config.gamma
    assert (peer is None) == (target is None)


def test_names_tell_the_rows_apart():
    assert len({run.name(*row) for row in ROWS}) == len(ROWS)


def test_the_table_says_who_is_faster_and_who_did_not_solve():
    terms, algo, env, peer, target = ROWS[0]
    fast, slow = ({"cpu": s, "wall": s, "steps": 5000} for s in (0.5, 4.0))
    unsolved = {"cpu": 0.1, "wall": 0.1, "steps": None}
    row = {"terms": terms, "algo": algo, "env": env, "peer": peer, "target": target, "load": 1.0}
    row |= {"ours": [fast, fast, unsolved], "theirs": [slow]}
    first = {"ours": 0.0, "theirs": 1.0}
    table = run.markdown({run.name(*ROWS[0]): row, "first use": first, "an old row": row})
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {algo} {env}")]
    assert "2 of 3" in line and "8.0x" in line and "10.0x" in line and peer in line


def test_plain_nbgrader_gets_the_classs_seed_and_executes_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    config = tmp_path / "nbgrader_config.py"
    config.write_text(
        "from pgcourse.classroom.gradebook import configure\nconfigure(c, seed='abc1')"
    )
    grading.without_pgcourse(tmp_path)
    loaded = PyFileConfigLoader(config.name, path=str(tmp_path)).load_config()
    assert loaded.OverwriteCells.add_missing_cells is True and "Autograde" not in loaded
    assert os.environ["PGCOURSE_SEED"] == "abc1" and os.environ["PGCOURSE_FAST"] == "1"


def test_seconds_in_cells_that_are_not_graded(tmp_path):
    def cell(seconds, **metadata):
        ran = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
        ran["shell.execute_reply"] = f"2026-01-01T00:00:{seconds:02}.500000Z"
        return {"cell_type": "code", "metadata": {"execution": ran, **metadata}}

    cells = [cell(1), cell(20, tags=["setup"]), cell(30, nbgrader={"grade": True}), cell(4)]
    cells.append({"cell_type": "markdown", "metadata": {}})
    for student in ("ada", "ben"):
        folder = tmp_path / "autograded" / student / grading.LESSON
        folder.mkdir(parents=True)
        (folder / f"{grading.LESSON}.ipynb").write_text(json.dumps({"cells": cells}))
    assert grading.seconds_not_graded(tmp_path) == pytest.approx(6.0)


def test_on_the_peers_terms_nothing_of_our_own_settings_is_left():
    """What a row does not say for itself must be the default, not what was tuned for the task."""
    for terms, algo, env, *_ in ROWS:
        if terms == "theirs":
            module, config = our_config(terms, algo, env, seed=0)
            left = module.Config.TUNED.get(env, {}).keys() - AS_THEIRS[f"{algo} {env}"].keys()
            assert not left, f"{algo}: {sorted(left)}"


def test_at_steady_state_compiling_is_apart_and_together():
    def taken(before, after, **more):
        times = {"before": before, "after": after}
        return {"idle": 100, "first": 500, "last": 1500, **times, **more}

    row = {"ours": [taken(4.0, 14.0, products=5.0)], SBX: [taken(10.0, 30.0)], "load": 1.0}
    ours, theirs = steady.table({"sac Pendulum-v1": row})[-2:]
    assert "| 10.00 |  | 0.0 | 9.33 | 1.5k | 5.00 | 1 |" in ours
    assert "| 20.00 | 0.50 | 2.0 | 20.00 |" in theirs


def test_the_pace_is_taken_between_two_numbers_of_steps():
    pace = steady.Pace(0, 10, 20)
    assert [pace.look(None, steps) for steps in (5, 12, 19, 21)] == [False, False, False, True]
    row = pace.row()
    assert (row["first"], row["last"]) == (12, 21) and 0 <= row["before"] <= row["after"]


def test_of_an_update_of_sac_16_products_are_large(monkeypatch):
    """Two for the actor on next_obs and obs, two back; each critic: forward three times, back three."""
    shapes, mm = [], steady.torch.mm

    def counted(one, other, out):
        shapes.append((*one.shape, other.shape[1]))
        return mm(one, other, out=out)

    monkeypatch.setattr(steady.torch, "mm", counted)
    seconds = steady.products(*STEADY[0][:2], our_config("theirs", *STEADY[0][:2], 0)[1], repeats=1)
    assert shapes.count((256, 256, 256)) == 4 + 2 * 6 and seconds > 0
