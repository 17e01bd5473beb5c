"""CPU seconds per 1,000 environment steps at steady state, compiling apart, and what matrix products take of them."""

import time

import numpy as np
import torch

from pgcourse.bench.rows import SB3, SBX
from pgcourse.bench.solve import Stopwatch

NAMES = {"ours": "pgcourse", SB3: SB3, SBX: f"{SBX} (JAX)"}


class Pace:
    """In the place of `UntilSolved`: takes the time at two numbers of steps, and stops at the second.

    idle : steps at the beginning that are only collected, and cost nearly nothing
    """

    def __init__(self, idle, first, last):
        self.idle, self.marks, self.at, self.watch = idle, [first, last], [], Stopwatch()

    def __call__(self, recorder):
        return self.look(recorder.policy, recorder.steps)

    def look(self, policy, steps, recent=None):
        if len(self.at) < 2 and steps >= self.marks[len(self.at)]:
            self.watch.pause()
            self.at.append((steps, self.watch.cpu))
            self.watch.resume()
        return len(self.at) == 2

    def row(self):
        (first, before), (last, after) = self.at
        times = {"first": first, "last": last, "before": before, "after": after}
        return {"idle": self.idle, **times}


def products(algo, env, config, repeats=200):
    """CPU seconds per 1,000 steps of the matrix products alone, each of them as quick as torch has it.

    A layer of k inputs and n outputs is for b samples a product [b, k] [k, n], and in the way back one for
    its weights, [k, b] [b, n], and one for its inputs, [b, n] [n, k].
    """
    n_obs, n_out = {"CartPole-v1": (4, 2), "Pendulum-v1": (3, 1)}[env]
    if algo == "sac":
        batch = config.batch
        actor, critic = (n_obs, *config.hidden, 2 * n_out), (n_obs + n_out, *config.hidden, 1)
        # the actor: next_obs; obs and back. Each critic: its slow copy; a regression; passed through
        passes = [(actor, "f"), (actor, "fw")]
        passes += 2 * [(critic, "f"), (critic, "fw"), (critic, "fx")]
        per_step = config.updates_per_step
    else:
        batch = config.n_envs * config.n_steps // config.minibatches
        passes = [((n_obs, *config.hidden, n), "fw") for n in (n_out, 1)]
        per_step = config.epochs / batch
    shapes = []
    for sizes, ways in passes:
        for i, (k, n) in enumerate(zip(sizes, sizes[1:], strict=False)):
            shapes.append((batch, k, n))
            if "w" in ways:
                shapes.append((k, batch, n))
            if "x" in ways or ("w" in ways and i):
                shapes.append((batch, n, k))
    pairs = [(torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)) for m, k, n in shapes]
    began = time.process_time()
    for _ in range(repeats):
        for one, other, out in pairs:
            torch.mm(one, other, out=out)
    return (time.process_time() - began) / repeats * per_step * 1000


def paces(runs):
    """Of one side's runs, medians: CPU seconds per 1,000 steps, of compiling, and per 1,000 with compiling."""
    steady = [1000 * (r["after"] - r["before"]) / (r["last"] - r["first"]) for r in runs]
    once = [
        r["before"] - s * (r["first"] - r["idle"]) / 1000 for r, s in zip(runs, steady, strict=True)
    ]
    whole = [1000 * r["after"] / r["last"] for r in runs]
    return tuple(float(np.median(x)) for x in (steady, once, whole))


def table(found):
    """Lines of Markdown."""
    lines = [
        "CPU seconds per 1,000 environment steps on the peer's settings (SAC: two layers of 256, batch 256, an",
        "update a step), one thread, every run in a process of its own, median. Once: what the first steps took",
        "beyond that, which is compiling. With it: all the steps measured, compiling included. Products: the",
        "matrix products of the updates alone, timed in the same process; whoever trains these networks on",
        "this processor pays for them.",
        "",
        "| task | | steady | ours / it | once | with it | steps | products | runs | load |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task, row in found.items():
        mine = paces(row["ours"])[0]
        for side, name in NAMES.items():
            if not row.get(side):
                continue
            steady, once, whole = paces(row[side])
            alone = f"{np.median([r['products'] for r in row[side]]):.2f}" if side == "ours" else ""
            ratio = "" if side == "ours" else f"{mine / steady:.2f}"
            cells = [task, name, f"{steady:.2f}", ratio, f"{max(once, 0):.1f}", f"{whole:.2f}"]
            cells += [
                f"{row[side][0]['last'] / 1000:.1f}k",
                alone,
                str(len(row[side])),
                str(row["load"]),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return lines
