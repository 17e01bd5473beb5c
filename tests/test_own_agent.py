"""The learner's whole agent: right ones pass on every seed, each fault has its name, nothing breaks the check."""

import importlib.util
import os
import textwrap
import time
from pathlib import Path

import pytest

from pgcourse import own_agent
from pgcourse.own_agent import check_agent
from pgcourse.own_agent.verdicts import STAGES, probes, understood, verdict
from pgcourse.own_agent.worker import measure

ROOT = Path(__file__).parents[1]
RIGHT = {stage: (ROOT / f"solutions/my_agent_0{stage}.py").read_text() for stage in STAGES}
SEEDS = range(3, 8)  # others than the check's own


def load(text, folder):
    path = folder / "my_agent.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("an_agent", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.train


def edited(stage, *pairs):
    text = RIGHT[stage]
    for old, new in pairs:
        assert text.count(old) == 1, (stage, old, text.count(old))
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("stage", STAGES)
def test_a_reference_uses_nothing_of_the_package(stage):
    assert "pgcourse" not in RIGHT[stage].replace('"""', "", 1).split('"""', 1)[1]


def right_on_each_seed(train, name, stage):
    for seed in SEEDS:
        found = verdict(name, measure(name, train, seed, stage), stage)
        assert found.ok, (seed, found)


@pytest.mark.slow
@pytest.mark.parametrize("stage, name", [(s, name) for s in STAGES for name in probes(s)])
def test_a_right_agent_passes_on_each_of_five_seeds(stage, name, tmp_path):
    right_on_each_seed(load(RIGHT[stage], tmp_path), name, stage)


OTHERS = {  # right in another style
    "a step after each episode": edited(2, ("len(actions) < 64", "len(actions) < 1"), ("lr=0.01", "lr=0.003")),
    "sum over steps": edited(2, (").mean()\n        optimizer", ").sum() / 64\n        optimizer")),
    "relu, wider": edited(2, ("Tanh", "ReLU"), ("n_in, 32", "n_in, 128"), ("Linear(32,", "Linear(128,"), ("lr=0.01", "lr=0.003")),
    "returns a list": edited(2, ("dtype=torch.float32)), dim=-1)\n", "dtype=torch.float32)), dim=-1).tolist()\n"),
                             ("torch.multinomial(probabilities, 1)", "torch.multinomial(torch.tensor(probabilities), 1)")),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", probes(2))
@pytest.mark.parametrize("style", OTHERS)
def test_other_right_agents_pass_on_each_of_five_seeds(style, name, tmp_path):
    right_on_each_seed(load(OTHERS[style], tmp_path), name, 2)


SUM_OF_EPISODE = """            to_go, ahead = [], 0.0
            for rew in reversed(rewards):
                ahead = rew + gamma * ahead
                to_go.append(ahead)
            returns += reversed(to_go)
            played += len(rewards)
"""
LEAK = (
    (SUM_OF_EPISODE, "            returns += rewards\n            played += len(rewards)\n"),
    (
        "        logp = torch.log_softmax(",
        "        for t in reversed(range(len(returns) - 1)):\n"
        "            returns[t] += gamma * returns[t + 1]\n"
        "        logp = torch.log_softmax(",
    ),
)
STORE = "                observations.append(torch.as_tensor(obs, dtype=torch.float32))\n"
STEP = "                obs, rew, terminated, truncated, _ = env.step(act)\n"
ROW = "rows.append((tensor(obs), act, float(rew), tensor(next_obs), terminated, ended))\n"
NEXT = "            obs = env.reset()[0] if ended else next_obs\n"
NORMALIZED = "        adv = (adv - adv.mean()) / (adv.std() + 1e-8)\n"
FAULTS = {  # name: (stage, the world that shows it, its symptom, edits)
    "sign": (2, "reward", "it learns away from the reward", [("-(logp *", "(logp *")]),
    "no step": (2, "reward", "learns too little", [("        optimizer.step()\n", "")]),
    "the next observation": (
        2,
        "observation",
        "the observation does not reach the action",
        [(STORE, ""), (STEP, STEP + STORE)],
    ),
    "its own reward only": (
        2,
        "delayed",
        "a delayed reward does not reach the action",
        [("ahead = rew + gamma * ahead", "ahead = rew")],
    ),
    "no gamma": (2, "discount", "gamma is not used", [("rew + gamma * ahead", "rew + ahead")]),
    "across episodes": (2, "separate", "the rewards of the next episode leak in", LEAK),
    "always the best action": (
        2,
        "alike",
        "the actions are not drawn from the policy",
        [("torch.multinomial(probabilities, 1)", "probabilities.argmax()")],
    ),
    "returns the best action": (
        2,
        "alike",
        "a policy that is random on purpose is not learned",
        [
            (
                "    return policy\n",
                "    return lambda obs: torch.eye(2)[policy(obs).argmax()]\n",
            )
        ],
    ),
    "[B, 1] minus [B]": (
        3,
        "worth",
        "one value for all states",
        [("(critic(seen).squeeze(-1) - ret)", "(critic(seen) - ret)")],
    ),
    "critic without a step": (3, "worth", "one value for all states", [("            critic_opt.step()\n", "")]),
    "no baseline": (
        3,
        "shifted",
        "the baseline is not subtracted",
        [("adv = ret - critic(seen).squeeze(-1).detach()", "adv = ret"), (NORMALIZED, "")],
    ),
    "a slow critic": (
        3,
        "shifted",
        "the critic has not caught up",
        [("lr=0.03", "lr=0.0003"), (NORMALIZED, "")],
    ),
    "time limit": (
        4,
        "limit",
        "a time limit is taken for the end",
        [(ROW, ROW.replace("terminated, ended", "ended, ended"))],
    ),
    "past the end": (
        4,
        "limit",
        "it bootstraps past the end",
        [(" * (not terminated[t])", "")],
    ),
    "the reset observation": (
        4,
        "limit",
        "it bootstraps from the reset",
        [
            (ROW, "before = obs\n" + NEXT + "            " + ROW.replace("tensor(obs)", "tensor(before)").replace("tensor(next_obs)", "tensor(obs)")),
            (NEXT + "        played", "        played"),
        ],
    ),
    "gae across episodes": (
        4,
        "separate",
        "the rewards of the next episode leak in",
        [(" * (not ended[t])", "")],
    ),
    "no clip": (
        5,
        "clip",
        "the clip does not hold",
        [("torch.minimum(rho * adv, rho.clamp(1 - clip, 1 + clip) * adv)", "(rho * adv)")],
    ),
    "old log-probabilities that move": (
        5,
        "clip",
        "the clip does not hold",
        [("(log_probability(seen, act) - logp_old).exp()", "(log_probability(seen, act) - log_probability(seen, act).detach()).exp()")],
    ),
    "epochs without a step": (5, "clip", "it does not learn at all", [("            actor_opt.step()\n", "")]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_on_each_of_five_seeds(fault, tmp_path):
    stage, world, symptom, edits = FAULTS[fault]
    if fault == "the reset observation":
        edits = edits[:1]
        text = edited(stage, *edits)
        assert text.count(NEXT) == 2
        text = text[: text.rindex(NEXT)] + text[text.rindex(NEXT) + len(NEXT) :]
    else:
        text = edited(stage, *edits)
    train = load(text, tmp_path)
    for seed in SEEDS:
        found = verdict(world, measure(world, train, seed, stage), stage)
        assert not found.ok and found.symptom == symptom, (seed, found)
        assert found.do and found.expected and found.came


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
