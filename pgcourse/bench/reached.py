"""What each algorithm reaches with the settings kept for a task: when first, and when it has used up its steps.

python -m pgcourse.bench.reached        bench/reached.json and bench/reached.md
"""

import json
import math
import resource
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pgcourse.bench.rows import our_config
from pgcourse.bench.solve import THRESHOLD, until_solved
from pgcourse.envs import make_vector
from pgcourse.rollout import evaluate

# algorithm and task; the last two need the extras box2d and mujoco
PRESETS = [
    ("reinforce", "CartPole-v1"),
    ("baseline", "CartPole-v1"),
    ("a2c", "CartPole-v1"),
    ("a3c", "CartPole-v1"),
    ("ppo", "CartPole-v1"),
    ("ppo", "Acrobot-v1"),
    ("ppo", "Pendulum-v1"),
    ("sac", "Pendulum-v1"),
    ("sac", "InvertedPendulum-v5"),
    ("ppo", "LunarLander-v3"),
]


FIRST_SEED = 12  # the settings were chosen on others


def cpu_seconds():
    """Of this process and of the workers (A3C's) that it has seen end."""
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + workers.ru_utime + workers.ru_stime


def reach(algo, env, seed):
    """Train until the task is solved, and again to the end of the preset's steps.

    returns : dict of seed, first (the step at which it was solved, None), and of the whole training: steps, cpu
              (seconds), return (the mean of 100 fresh deterministic episodes)
    """
    module, config = our_config("tuned", algo, env, seed)
    began = cpu_seconds()
    result = module.train(config, progress=False)
    cpu = cpu_seconds() - began
    steps = int(result.history["steps"][-1])
    mean = evaluate(result.policy, env, 100, seed=10_000 + seed).mean()
    first = until_solved(module.train, config)["steps"]
    return {"seed": seed, "first": first, "steps": steps, "cpu": cpu, "return": float(mean)}


def markdown(found):
    lines = [
        "# What each algorithm reaches",
        "",
        "The settings that are kept for each task (`Config.tuned`). Solved: the mean return of 100 fresh episodes without",
        "exploration reaches the figure in brackets. First the step at which a seed solved it (median over seeds), looked",
        "at every few hundred or thousand steps. Then the training to the end of its steps: CPU seconds on one torch thread",
        "(A3C: all its processes together; median), the mean return (median and quartiles over seeds), and the seeds that",
        "solve the task then. Most of these settings were chosen to solve the task soonest; who goes on with the same",
        "large steps may lose it again.",
        "",
        "| algorithm | task | first solved at | seeds | steps in all | CPU s | return at the end: median (quartiles) | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (algo, env), rows in ((key.split(), rows) for key, rows in found.items()):
        steps, cpu = (np.median([row[key] for row in rows]) for key in ("steps", "cpu"))
        returns = [row["return"] for row in rows]
        low, middle, high = np.percentile(returns, (25, 50, 75))
        solved = sum(ret >= THRESHOLD[env] for ret in returns)
        # a seed that did not solve it counts as infinitely slow
        first = [row["first"] or math.inf for row in rows]
        at = np.median(first) / 1000
        cells = [algo, f"{env} ({THRESHOLD[env]:g})", f"{at:.0f}k" if at < math.inf else "–"]
        cells += [f"{sum(x < math.inf for x in first)} of {len(rows)}"]
        cells += [f"{steps / 1000:.0f}k", f"{cpu:.1f}"]
        cells += [f"{middle:.1f} ({low:.1f} to {high:.1f})", f"{solved} of {len(rows)}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(out=Path("bench"), seeds=5):
    """Every preset on `seeds` seeds; where an extra is missing, what is there already of its row stays."""
    path = out / "reached.json"
    out.mkdir(exist_ok=True)
    for algo, env in tqdm(PRESETS, unit=" presets"):
        try:
            make_vector(env, 1).close()
        except ValueError as missing:
            tqdm.write(str(missing))
            continue
        rows = [reach(algo, env, seed) for seed in range(FIRST_SEED, FIRST_SEED + seeds)]
        found = json.loads(path.read_text()) if path.exists() else {}
        found[f"{algo} {env}"] = rows
        found = {key: found[key] for key in (f"{a} {e}" for a, e in PRESETS) if key in found}
        path.write_text(json.dumps(found, indent=1) + "\n")
        (out / "reached.md").write_text(markdown(found))
    print((out / "reached.md").read_text())


if __name__ == "__main__":
    main()
