"""The learner's whole agent: right ones pass on every seed, each fault has its name, nothing breaks the check."""

import json
import os
import textwrap
import time

import pytest

from pgcourse import own_agent
from pgcourse.own_agent import check_agent
from pgcourse.own_agent.verdicts import STAGES, understood
from tests.agents import RECORD, RIGHT, SEEDS, cases, found_in, state_of

CASES = cases()
RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_reference_uses_nothing_of_the_package(stage):
    assert "pgcourse" not in RIGHT[stage].replace('"""', "", 1).split('"""', 1)[1]


@pytest.mark.parametrize("name", CASES)
def test_each_agent_is_called_what_it_is_on_each_of_five_seeds(name):
    text, _, _, symptom = CASES[name]
    entry = RECORDED[name]
    assert entry["symptoms"] == [symptom] * len(SEEDS)
    assert entry["fingerprint"] == state_of(text), "stale: run python -m tests.agents --record"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_and_so_it_is_called_today(name):
    text, stage, world, symptom = CASES[name]
    found = found_in(text, stage, world, SEEDS[0])
    assert found.symptom == symptom and found.ok == (symptom == "")
    assert found.expected and found.came and (found.ok or found.do)


def test_nothing_else_is_recorded():
    assert RECORDED.keys() == CASES.keys()


def test_without_a_file_it_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert check_agent(2) is None
    assert "There is no my_agent.py beside this notebook yet" in capsys.readouterr().out
    with pytest.raises(ValueError, match="from 2 to 5"):
        check_agent(7)


@pytest.mark.parametrize(
    "separate, alike, symptom",
    [
        (0.9, [0.95, 90], "a policy that is random on purpose is not learned"),
        (0.3, [0.95, 90], "not learned here either"),
        (0.3, [0.95, 3], "the actions are not drawn from the policy"),
    ],
)
def test_what_fails_above_is_not_said_again_as_another_fault(separate, alike, symptom):
    numbers = {"reward": [0.9], "observation": [0.9, 0.9], "delayed": [0.9, 0.9], "discount": [0.9]}
    numbers |= {"separate": [separate], "alike": alike}
    found = understood([{"probe": k, "numbers": [v] * 3} for k, v in numbers.items()], 2)
    assert found[-1].symptom == symptom and not found[-1].ok
    assert ("“separate”" in found[-1].do) == (symptom == "not learned here either")


def agent(body):
    return f"import os, sys, time\n\n\ndef train(env, steps, gamma=0.99, seed=0, epochs=1):\n{textwrap.indent(body, '    ')}\n"


@pytest.mark.parametrize(
    "text, symptom, came",
    [
        ("def train(:", "it raises", "SyntaxError"),
        ("x = 1", "it raises", "no function `train`"),
        (agent("raise KeyError('obs')"), "it raises", "KeyError: 'obs' (line 5 of my_agent.py)"),
        (agent("sys.exit()"), "it raises", "SystemExit"),
        (agent("os._exit(0)"), "it does not come back", "ended the whole process"),
        (agent("return None"), "it raises", "return functions"),
        (agent("return lambda obs: [0.3, 0.3]"), "it raises", "sum to 1"),
        (agent("return lambda obs: [[0.5, 0.5]]"), "it raises", "shape"),
        (agent("env.reset()\nenv.step(0)\nenv.step(0)"), "it raises", "call reset() first"),
        (agent("while True:\n    env.reset()\n    try:\n        env.step(0)\n    except Exception:\n        pass"),
         "it does not stop", "long after"),
        (agent("while True:\n    print('x' * 1000)\n    time.sleep(0.01)"), "it does not come back", "never returned"),
    ],
    ids=["syntax", "no train", "raises", "exit", "_exit", "none", "sum", "shape", "no reset", "plays on", "hangs"],
)  # fmt: skip
def test_whatever_it_does_the_check_answers(text, symptom, came, tmp_path, monkeypatch):
    monkeypatch.setattr(own_agent, "SECONDS", 20)
    file = tmp_path / "my_agent.py"
    file.write_text(text)
    began = time.monotonic()
    report = check_agent(2, file)
    assert time.monotonic() - began < 90
    assert not report.passed and report.found[-1].symptom == symptom
    assert came in report.found[-1].came
    assert symptom in str(report) and symptom in report._repr_html_()


@pytest.mark.slow
def test_a_right_file_gets_a_card_that_says_so(tmp_path):
    (tmp_path / "my_agent.py").write_text(RIGHT[2])
    report = check_agent(2, tmp_path / "my_agent.py")
    assert report.passed and report.headline == "✓ my_agent.py, lesson 2: 6 of 6 worlds"
    assert os.listdir(tmp_path) == ["my_agent.py"] or "__pycache__" in os.listdir(tmp_path)
    assert "role='status'" in report._repr_html_()
