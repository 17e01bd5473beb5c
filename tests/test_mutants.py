"""The cases prove themselves: nearly everything here is recorded by `python -m tests.mutants --record`."""

import json
from dataclasses import replace

import pytest

from pgcourse.checks import core
from tests.mutants import RECORD, exercises, state_of, try_all

RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_the_record_is_of_today_and_has_no_hole(name):
    entry = RECORDED[name]
    assert entry["holes"] == {}, f"the cases of {name} let a mutant pass"
    state = state_of(exercises()[name])
    assert entry["fingerprint"] == state, f"stale: run python -m tests.mutants --record {name}"


@pytest.mark.parametrize("name, every", [("gae", 60), ("ppo_clip_loss", 40), ("softmax", 12)])
def test_a_sample_of_the_mutants_is_refused(name, every):
    tried, _, holes = try_all(exercises()[name], every)
    assert tried > 10 and holes == {}


def test_a_case_that_is_missing_is_found(monkeypatch):
    """Without the cases that have large numbers a clamp passes, and without the rims an ignored row."""
    monkeypatch.setattr(
        core, "KNOWN", {}
    )  # cases with other numbers: nobody else may see their answers
    exercise = exercises()["td_target"]
    fewer = [case for case in exercise.cases if "large" not in case.name]
    assert len(fewer) < len(exercise.cases)
    _, _, holes = try_all(replace(exercise, cases=fewer), every=5)
    assert any("clamp" in hole for hole in holes)
