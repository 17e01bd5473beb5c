"""Whole agents, right and wrong, and what the check makes of each on five seeds of its own.

    python -m tests.agents --record        (all of them: some minutes of one core)

With --record the verdicts go to tests/agents.json, with a fingerprint of the agent, the worlds and the verdicts;
tests/test_own_agent.py fails when they are stale or not what they should be, and tries each on one seed.
"""

import argparse
import hashlib
import importlib.util
import json
import tempfile
from functools import cache
from pathlib import Path

import torch

from pgcourse.fingerprint import fingerprint
from pgcourse.own_agent.verdicts import STAGES, probes, verdict
from pgcourse.own_agent.worker import measure

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("agents.json")
RIGHT = {stage: (ROOT / f"solutions/my_agent_0{stage}.py").read_text() for stage in STAGES}
SEEDS = tuple(range(3, 8))  # others than the check's own


def edited(stage, *pairs):
    text = RIGHT[stage]
    for old, new in pairs:
        assert text.count(old) == 1, (stage, old, text.count(old))
        text = text.replace(old, new)
    return text


OTHERS = {  # right in another style
    "a step after each episode": edited(2, ("len(actions) < 64", "len(actions) < 1"), ("lr=0.01", "lr=0.003")),
    "sum over steps": edited(2, (").mean()\n        optimizer", ").sum() / 64\n        optimizer")),
    "relu, wider": edited(2, ("Tanh", "ReLU"), ("n_in, 32", "n_in, 128"), ("Linear(32,", "Linear(128,"), ("lr=0.01", "lr=0.003")),
    "returns a list": edited(2, ("dtype=torch.float32)), dim=-1)\n", "dtype=torch.float32)), dim=-1).tolist()\n"),
                             ("torch.multinomial(probabilities, 1)", "torch.multinomial(torch.tensor(probabilities), 1)")),
}  # fmt: skip

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
            (
                "            " + ROW + NEXT,
                "            before = obs\n" + NEXT + "            "
                + ROW.replace("tensor(obs)", "tensor(before)").replace("tensor(next_obs)", "tensor(obs)"),
            ),
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


def cases():
    """{name: (text, stage, world, its symptom; "" where it is right)}"""
    found = {f"{s}-{w}": (RIGHT[s], s, w, "") for s in STAGES for w in probes(s)}
    found |= {f"{style}-{w}": (text, 2, w, "") for style, text in OTHERS.items() for w in probes(2)}
    for fault, (stage, world, symptom, edits) in FAULTS.items():
        found[fault] = (edited(stage, *edits), stage, world, symptom)
    return found


def found_in(text, stage, world, seed):
    """The Finding for an agent in one world."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "an_agent.py"
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location("an_agent", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return verdict(world, measure(world, module.train, seed, stage), stage)


def state_of(text):
    """A hash of all that decides: the agent, and the code that tries and judges it."""
    return hashlib.sha256(f"{text}{judges()}".encode()).hexdigest()[:16]


@cache
def judges():
    return fingerprint("pgcourse.own_agent.worker.measure", "pgcourse.own_agent.verdicts.verdict")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = {}
    for name, (text, stage, world, symptom) in cases().items():
        said = [found_in(text, stage, world, seed) for seed in SEEDS]
        record[name] = {"fingerprint": state_of(text), "symptoms": [f.symptom for f in said]}
        if any(f.symptom != symptom for f in said):
            print(f"{name}: expected {symptom!r}; got {record[name]['symptoms']}", flush=True)
    if options.record:
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
