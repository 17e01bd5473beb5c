"""The process in which a learner's agent runs: trains it on each world, and writes what it became.

python -m pgcourse.own_agent.worker my_agent.py 3 FILE     a line of JSON for each world
"""

import importlib.util
import json
import sys
import traceback
from pathlib import Path

import numpy as np

from pgcourse.own_agent.verdicts import SEEDS, probes
from pgcourse.own_agent.worlds import (
    Alike,
    Choice,
    Delayed,
    Discount,
    Endless,
    Limit,
    Observation,
    Reward,
    Separate,
    Shifted,
    Worth,
)


def checked(policy, obs, actions):
    """The probabilities of a policy. raises: TypeError or ValueError in the learner's words"""
    p = policy(obs)
    p = p.detach() if hasattr(p, "detach") else p
    p = np.asarray(p, dtype=float)
    if p.shape != (actions,):
        raise ValueError(
            f"policy(obs) shall be {actions} probabilities, shape ({actions},); it has shape {p.shape}."
        )
    if not np.isfinite(p).all() or (p < -1e-6).any() or abs(p.sum() - 1) > 1e-3:
        raise ValueError(f"policy(obs) shall be probabilities that sum to 1; it is {p.round(3)}.")
    return p


def trained(train, world, steps, gamma, seed, stage, **more):
    """(probabilities of a state, value of a state, the world) after training."""
    env = world(steps)
    result = train(env, steps=steps, gamma=gamma, seed=seed, **more)
    pair = isinstance(result, tuple | list)
    if stage >= 3 and not (pair and len(result) == 2):
        raise ValueError("train shall return two functions from lesson 3 on: policy, value.")
    policy, value = result if pair and len(result) == 2 else (result, None)
    if not callable(policy) or (stage >= 3 and not callable(value)):
        raise TypeError(
            "train shall return functions: policy(obs), and from lesson 3 on value(obs)."
        )
    eye = np.eye(env.states, dtype=np.float32)

    def V(state):
        v = value(eye[state])
        v = float(v.detach().reshape(()) if hasattr(v, "detach") else np.asarray(v).reshape(()))
        if not np.isfinite(v):
            raise ValueError(f"value(obs) shall be a finite number; it is {v}.")
        return v

    return (lambda state: checked(policy, eye[state], env.actions)), V, env


def measure(name, train, seed, stage):
    """The numbers of one probe and seed."""
    if name == "discount":
        pi, _, _ = trained(train, Discount, 3000, 0.5, seed, stage)
        return [pi(0)[0]]
    if name in ("reward", "separate"):
        world = Reward if name == "reward" else Separate
        pi, _, _ = trained(train, world, 4000, 0.99, seed, stage)
        return [pi(0)[1]]
    if name in ("observation", "delayed"):
        world, steps = (Observation, 4000) if name == "observation" else (Delayed, 8000)
        pi, _, _ = trained(train, world, steps, 0.99, seed, stage)
        return [pi(0)[0], pi(1)[1]]
    if name == "alike":
        pi, _, env = trained(train, Alike, 5000, 0.99, seed, stage)
        return [pi(0)[1], env.arrivals]
    if name == "worth":
        _, V, _ = trained(train, Worth, 4000, 0.99, seed, stage)
        return [V(0), V(1)]
    if name == "shifted":
        pi, V, _ = trained(train, Shifted, 10_000, 0.99, seed, stage)
        right = sum(pi(s)[Shifted.right[s]] > 0.5 for s in range(12))
        return [float(right), sum(V(s) for s in range(12)) / 12]
    if name == "limit":
        _, V, _ = trained(train, Limit, 6000, 0.9, seed, stage)
        return [V(0), V(1)]
    before, _, _ = trained(train, Choice, 0, 0.99, seed, stage, epochs=200)
    for steps in (
        1,
        64,
        128,
        256,
        512,
        1024,
        2048,
    ):  # until there was an update, and hardly more than one
        after, _, _ = trained(train, Choice, steps, 0.99, seed, stage, epochs=200)
        rho = after(0) / np.maximum(before(0), 1e-9)
        if np.abs(rho - 1).max() > 1e-6:
            break
    others = [0, 1, 3]  # what the one that pays has taken from them
    return [float(after(0)[others].sum() / before(0)[others].sum())]


def work(path, stage, out):
    """The worker: train on each probe, and write a line when it is done."""
    with open(out, "w", encoding="utf-8", buffering=1) as file:

        def tell(**row):
            file.write(json.dumps(row) + "\n")

        name = probes(stage)[0]
        try:
            spec = importlib.util.spec_from_file_location("my_agent", path)
            module = importlib.util.module_from_spec(spec)
            sys.modules["my_agent"] = module
            spec.loader.exec_module(module)
            if not callable(getattr(module, "train", None)):
                raise AttributeError("there is no function `train` in it.")
            for name in probes(stage):
                tell(
                    probe=name, numbers=[measure(name, module.train, seed, stage) for seed in SEEDS]
                )
        except Endless:
            tell(
                probe=name, error="it went on playing long after the steps it was given",
                symptom="it does not stop", do="Count the steps that were played, and return once there are `steps` of them.",
            )  # fmt: skip
        except BaseException as error:  # whatever it is, SystemExit too: the learner is told
            tell(
                probe=name,
                error=in_words(error, path),
                symptom="it raises",
                do="Run train on CartPole-v1 yourself, and try what it returns on an observation.",
            )


def in_words(error, path):
    """An exception, and the line of the learner's file that it came from."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    where = f" (line {lines[-1]} of {Path(path).name})" if lines else ""
    try:
        text = " ".join(str(error).split())[:300]
    except Exception:
        text = "an exception that cannot be printed"
    return f"{type(error).__name__}: {text}{where}"


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), sys.argv[3])
