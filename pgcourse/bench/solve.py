"""Seconds and steps until a task is solved, by an honest evaluation whose time is not counted."""

import time

import numpy as np

from pgcourse.rollout import evaluate

# Gymnasium's own figures, where it has one (for Pendulum it has none)
THRESHOLD = {"CartPole-v1": 475.0, "Acrobot-v1": -100.0, "Pendulum-v1": -200.0}
THRESHOLD |= {"LunarLander-v3": 200.0, "InvertedPendulum-v5": 950.0}
# returns in training from which a look at the policy itself is worth its time
NEAR = {"CartPole-v1": 60.0, "Acrobot-v1": -200.0, "Pendulum-v1": -2000.0}
NEAR |= {"LunarLander-v3": 100.0, "InvertedPendulum-v5": 100.0}
EVERY = {"CartPole-v1": 500, "Acrobot-v1": 4000, "Pendulum-v1": 500}  # steps between looks
EVERY |= {"LunarLander-v3": 20_000, "InvertedPendulum-v5": 1000}


class Stopwatch:
    """Wall and CPU seconds, with pauses."""

    def __init__(self):
        self.wall = self.cpu = 0.0
        self.resume()

    def resume(self):
        self.from_wall, self.from_cpu = time.perf_counter(), time.process_time()

    def pause(self):
        self.wall += time.perf_counter() - self.from_wall
        self.cpu += time.process_time() - self.from_cpu


class UntilSolved:
    """A callback: stops the training once the policy is solved; the clock stands while it looks.

    Solved is: the mean of 20 fresh deterministic episodes reaches the threshold, and that of 100
    others confirms it.
    """

    def __init__(self, env):
        self.env, self.solved_at, self.looked_at = env, None, 0
        self.watch = Stopwatch()

    def __call__(self, recorder):
        return self.look(recorder.policy, recorder.steps, recorder.rows[-1]["return"])

    def look(self, policy, steps, recent):
        """recent : mean return in training; NaN before the first episode has ended"""
        if steps - self.looked_at < EVERY[self.env] or not recent >= NEAR[self.env]:
            return False
        self.looked_at = steps
        self.watch.pause()
        enough = THRESHOLD[self.env]
        if evaluate(policy, self.env, 20, seed=10_000 + steps).mean() >= enough:
            if evaluate(policy, self.env, 100, seed=20_000 + steps).mean() >= enough:
                self.solved_at = steps
        self.watch.resume()
        return self.solved_at is not None

    def row(self):
        self.watch.pause()
        return {"wall": self.watch.wall, "cpu": self.watch.cpu, "steps": self.solved_at}


class PeerPolicy:
    """A peer's policy behind our evaluation: the same episodes for both sides."""

    def __init__(self, decide):
        self.decide = decide

    def act(self, obs, deterministic, noise=None):
        return self.decide(obs)

    def to_env(self, act):
        return act.numpy()


def until_solved(train, config, **keywords):
    """Train until solved: a dict of wall and CPU seconds, and steps (None: not in total_steps)."""
    callback = UntilSolved(config.env)
    train(config, progress=False, callback=callback, **keywords)
    return callback.row()


def median(rows, key):
    """Median over seeds; an unsolved seed counts as infinitely slow."""
    return float(np.median([np.inf if row["steps"] is None else row[key] for row in rows]))
