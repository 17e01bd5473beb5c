"""Runs the rows, both sides in turn, and writes the table and the plot."""

import json
import os
import platform
import subprocess
import sys
import time
import tomllib
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

from pgcourse.bench import steady
from pgcourse.bench.rows import ROWS, SB3, SBX, STEADY
from pgcourse.bench.solve import median

TERMS = {
    "tuned": "each with its own settings",
    "ours": "both with this project's settings",
    "theirs": "both with the peer's settings",
}


class Side:
    """A worker process that stays, so that imports are paid once."""

    def __init__(self, python, name):
        self.python, self.name = python, name
        root = Path(__file__).resolve().parents[2]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
        environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"  # JAX's one thread
        self.process = subprocess.Popen(
            [str(python), "-m", "pgcourse.bench.worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.first_use = self.answer("its start")

    def ask(self, **job):
        print(json.dumps(job), file=self.process.stdin, flush=True)
        return self.answer(job)

    def answer(self, job):
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the benchmark's worker died on {job}; its error is above.")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def first_use(side, starts=5):
    """What a side's first step loads, in CPU seconds: the median over fresh workers."""
    found = [side.first_use]
    while len(found) < starts:
        another = Side(side.python, side.name)
        found.append(another.first_use)
        another.close()
    return float(np.median(found))


def peers_python(given):
    """A Python with the peers in it; made on first use, apart from the course's own environment."""
    if given:
        return given
    root = Path(__file__).resolve().parents[2]
    home = root / ".venv-bench"
    python, ready = home / "bin" / "python", home / ".ready"
    peers = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = " ".join(peers["optional-dependencies"]["bench"])
    if not (ready.exists() and ready.read_text() == wanted):
        print(f"making {home.name} (once): the peers are installed there and nowhere else")
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        # both sides on the same torch, numpy and gymnasium; the peers' other needs are their own
        pins = (root / "constraints.txt").read_text().splitlines()
        same = [pin for pin in pins if pin.startswith(("torch==", "numpy==", "gymnasium=="))]
        pip = [python, "-m", "pip", "install", "--quiet", *same]
        subprocess.run([*pip, "-e", f"{root}[bench]"], check=True, cwd=root)
        ready.write_text(wanted)
    return python


def command(
    seeds: Annotated[int, typer.Option(help="Seeds for each row; on our side twice as many.")] = 5,
    only: Annotated[
        str,
        typer.Option(
            help="Rows whose name contains this; or: steady, latency, reached, rlhf, grading."
        ),
    ] = "",
    peers: Annotated[
        Path | None, typer.Option(help="A Python that has the extra `bench`; default: .venv-bench.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the table and the plot go.")] = Path("bench"),
):
    """This project and its peers until solved and at steady state, an RLHF step, a class graded; about 50 minutes."""
    main(seeds, only, peers, out)


def main(seeds, only, peers, out):
    from pgcourse.bench import grading, reached, rlhf

    parts = {"latency": measure_latency, "rlhf": rlhf.main, "grading": grading.main}
    parts["reached"] = partial(reached.main, seeds=seeds)
    parts["steady"] = partial(measure_steady, seeds, peers)
    if only in parts:
        parts[only](out)
        return
    rows = [row for row in ROWS if only in name(*row)]
    if not rows:
        raise SystemExit(f"no row's name contains {only!r}.")
    out.mkdir(exist_ok=True)
    needs_peer = any(peer for *_, peer, _ in rows)
    ours = Side(sys.executable, "ours")
    theirs = Side(peers_python(peers), "theirs") if needs_peer else None
    results = load(out)
    if needs_peer:
        results["first use"] = {side.name: first_use(side) for side in (ours, theirs)}
    runs = [2 * seeds + seeds * bool(peer) for *_, peer, _ in rows]
    bar = tqdm(total=sum(runs), unit=" runs")
    try:
        for terms, algo, env, peer, target in rows:
            job = {"terms": terms, "algo": algo, "env": env, "peer": peer}
            row = {**job, "target": target, "ours": [], "theirs": []}
            results[name(**job)] = row
            for seed in range(2 * seeds):
                bar.set_postfix_str(name(**job))
                row["ours"].append(ours.ask(seed=seed, **job))
                bar.update()
                if peer and seed < seeds:
                    row["theirs"].append(theirs.ask(seed=seed, **job))
                    bar.update()
                row["load"] = round(os.getloadavg()[0], 1)
                results["about"] = about()
                write(out, results)  # seed by seed: an interrupted benchmark keeps what it has
    finally:
        bar.close()
        ours.close()
        if theirs:
            theirs.close()
    print(markdown(results))
    if not only:
        for part in parts.values():
            part(out)


def load(out):
    """Rows of earlier runs stay until they are measured again."""
    path = out / "results.json"
    return json.loads(path.read_text()) if path.exists() else {}


def about():
    from importlib.metadata import version

    names = ("torch", "gymnasium", "numpy")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        **{name: version(name) for name in names},
    }


def measure_steady(seeds, peers, out):
    """CPU seconds per 1,000 steps; every run in a process of its own, as JAX compiles once in each."""
    sides = {"ours": sys.executable, SB3: peers_python(peers), SBX: peers_python(peers)}
    runs = [(row, seed, peer) for row in STEADY for seed in range(seeds) for peer in sides]
    results = load(out)
    found = {}
    for (algo, env, span), seed, peer in tqdm(runs, unit=" runs"):
        row = found.setdefault(f"{algo} {env}", {})
        side = Side(sides[peer], "theirs" if peer == SB3 else peer)
        job = {"terms": "theirs", "algo": algo, "env": env, "peer": peer, "seed": seed}
        row.setdefault(peer, []).append(side.ask(**job, span=span))
        side.close()
        row["load"] = round(os.getloadavg()[0], 1)
        results["steady"] = results.get("steady", {}) | {f"{algo} {env}": row}
        write(out, results)  # run by run: an interrupted benchmark keeps what it has
    print(markdown(results))


def measure_latency(out):
    results = load(out)
    write(out, results | {"latency": latency()})
    print(markdown(load(out)))


def latency():
    """CPU seconds of `import pgcourse` against `import torch`, and of each exercise's check."""
    import resource

    def cpu(code):
        best = np.inf
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return best

    from pgcourse import checks

    times = []
    for exercise in checks.all_exercises().values():
        began = time.process_time()
        checks.judge(exercise.reference, exercise)
        times.append(time.process_time() - began)
    return {
        "import torch": cpu("import torch"),
        "import pgcourse": cpu("import pgcourse"),
        "import pgcourse.ppo": cpu("import pgcourse.ppo"),
        "check, median": float(np.median(times)),
        "check, slowest": float(max(times)),
    }


def name(terms, algo, env, peer, target=None):
    return f"{terms} {algo} {env}" + (f" beside {peer}" if peer else "")


def compared(results):
    return [results[name(*row)] for row in ROWS if name(*row) in results]


def number(x, digits=2):
    return "not solved" if not np.isfinite(x) else f"{x:.{digits}f}"


def steps(rows):
    x = median(rows, "steps")
    return "not solved" if not np.isfinite(x) else f"{x / 1000:.1f}k"


def markdown(results):
    """The table, as it is shown and kept."""
    lines = [
        "# Until solved, side by side",
        "",
        "CPU seconds of one process with one torch thread, median over seeds, without imports and",
        "without the time for looking. Solved: the mean of 20 fresh deterministic episodes reaches",
        "475 (CartPole), -100 (Acrobot) or -200 (Pendulum), and that of 100 more confirms it.",
        "A seed that is not solved within its steps counts as infinitely slow. Load is how many",
        "processes wanted the machine when the row ended: above the number of cores, wall seconds say",
        "little, CPU seconds are inflated on both sides, and only the ratio within a row means much.",
        "The textbook's REINFORCE has one environment and one episode for each update. In a first run",
        "each side also loads what its first step needs, after all imports (torch.optim loads",
        "torch._dynamo): the second ratio counts that too.",
        "",
        "| task | terms | CPU s | wall s | env steps | solved | peer | CPU s | wall s | steps | solved "
        "| ratio | in a first run | target | load |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    first = results.get("first use")
    for row in compared(results):
        cells = [f"{row['algo']} {row['env']}", TERMS[row["terms"]]]
        for side in ("ours", "theirs"):
            runs = row[side]
            cells += [row["peer"] or ""] if side == "theirs" else []
            if not runs:
                cells += ["", "", "", ""]
                continue
            # another process's work is not in this process's CPU time: A3C shows wall only
            cpu = "" if row["algo"] == "a3c" else number(median(runs, "cpu"))
            solved = sum(run["steps"] is not None for run in runs)
            cells += [cpu, number(median(runs, "wall")), steps(runs), f"{solved} of {len(runs)}"]
        if row["theirs"]:
            theirs, ours = median(row["theirs"], "cpu"), median(row["ours"], "cpu")
            warm, cold = theirs / ours, (theirs + first["theirs"]) / (ours + first["ours"])
            cells += [f"{x:.1f}x" if np.isfinite(x) else "" for x in (warm, cold)]
            cells.append(f"{row['target']}x")
        else:
            cells += ["", "", ""]
        cells.append(str(row["load"]))
        lines.append("| " + " | ".join(cells) + " |")
    if "steady" in results:
        lines += ["", *steady.table(results["steady"])]
    if "latency" in results:
        lines += ["", "| CPU seconds | |", "|---|---|"]
        lines += [f"| {what} | {x:.2f} |" for what, x in results["latency"].items()]
    if first:
        lines += [
            "",
            f"First use: {first['ours']:.2f} s here, {first['theirs']:.2f} s for the peer"
            " (median of five fresh starts).",
        ]
    if "about" in results:
        facts = ", ".join(f"{key} {value}" for key, value in results["about"].items())
        lines += ["", f"Measured: {facts}."]
    return "\n".join(lines) + "\n"


def write(out, results):
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "results.md").write_text(markdown(results))
    draw(results, out / "results.png")


def draw(results, path):
    """Seconds until solved, on a logarithmic axis; every seed a dot, the median a stroke."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from pgcourse.plots import BLUE, ORANGE, style

    rows = [row for row in compared(results) if row["theirs"]]
    if not rows:
        return
    style()
    fig, ax = plt.subplots(figsize=(8, 0.75 * len(rows) + 1.2))
    for y, row in enumerate(rows):
        sides = (("ours", BLUE, -0.18, "pgcourse"), ("theirs", ORANGE, 0.18, "the peer"))
        for side, color, shift, name in sides:
            times = [run["cpu"] for run in row[side] if run["steps"] is not None]
            middle = median(row[side], "cpu")
            if np.isfinite(middle):
                label = name if y == 0 else None
                ax.plot(middle, y + shift, "|", color=color, ms=18, mew=4, label=label)
            ax.plot(times, [y + shift] * len(times), ".", color=color)
    ax.set_xscale("log")
    labels = [f"{r['algo']} {r['env']}, {r['peer']}\n{TERMS[r['terms']]}" for r in rows]
    ax.set_yticks(range(len(rows)), labels)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("CPU seconds until solved (logarithmic; dots: seeds, strokes: medians)")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    fig.savefig(path, dpi=120)
    plt.close(fig)
