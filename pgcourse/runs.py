"""Runs on disk: saved while they train, resumed after an interruption, loaded and drawn later.

A run is a folder: `config.json` (algorithm, settings, seed, versions), `curve.csv` (one row an
iteration), `episodes.csv` (step and return of each training episode) and `checkpoint.pt` (weights,
optimizers, random state). Each file is replaced whole, so that a run that is killed while it saves
still has its last save.
"""

import csv
import dataclasses
import io
import json
import os
import platform
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated

import torch
import typer

ALGORITHMS = ("reinforce", "a2c", "a3c", "ppo", "sac")


def algorithm(name):
    """The module of an algorithm, by its name."""
    if name not in ALGORITHMS:
        raise ValueError(f"there is no algorithm {name!r}; choose from {', '.join(ALGORITHMS)}.")
    return import_module(f"pgcourse.{name}")


class Saver:
    """A callback that saves the run every so many seconds: an interruption loses no more than that."""

    def __init__(self, folder, seconds=5.0):
        self.folder, self.seconds = Path(folder), seconds
        self.saved_at = time.monotonic()

    def __call__(self, recorder):
        if time.monotonic() - self.saved_at >= self.seconds or recorder.done():
            save(recorder, self.folder)
            self.saved_at = time.monotonic()
        return False


def save(recorder, folder):
    """Write the state of a training to its folder."""
    import gymnasium

    import pgcourse

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = recorder.config
    about = {
        "algorithm": type(config).__module__.rpartition(".")[2],
        "config": dataclasses.asdict(config),
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "steps": recorder.steps,
        "versions": {
            "pgcourse": pgcourse.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "gymnasium": gymnasium.__version__,
        },
    }
    checkpoint = io.BytesIO()
    torch.save(recorder.checkpoint(), checkpoint)
    keys = list(dict.fromkeys(key for row in recorder.rows for key in row))
    curve = [keys, *([row.get(key, "") for key in keys] for row in recorder.rows)]
    write(folder / "checkpoint.pt", checkpoint.getvalue())
    write(folder / "curve.csv", table(curve))
    write(folder / "episodes.csv", table([["step", "return"], *recorder.episodes]))
    write(folder / "config.json", json.dumps(about, indent=2).encode())


def table(rows):
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def write(path, data):
    """Replace a file whole: a reader, or a crash, finds the old one or the new one."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(data)
    os.replace(beside, path)


def read(folder):
    """The algorithm's name, the configuration and the checkpoint of a saved run."""
    folder = Path(folder)
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} is not a saved run: it has no config.json.")
    about = json.loads((folder / "config.json").read_text())
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in about["config"].items()}
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    return about["algorithm"], algorithm(about["algorithm"]).Config(**settings), checkpoint


def load(folder):
    """A saved run as a `Result`: policy, history and returns, as `train` had returned it."""
    name, config, checkpoint = read(folder)
    reached = dataclasses.replace(config, total_steps=max(1, checkpoint["steps"]))
    result = algorithm(name).train(reached, progress=False, start=checkpoint)  # takes no step
    return dataclasses.replace(result, config=config)


def folders(paths):
    """The run folders among and below some paths, in order."""
    found = sorted({p.parent for path in paths for p in Path(path).rglob("config.json")})
    if not found:
        raise ValueError(f"no saved run in {', '.join(map(str, paths))}.")
    return found


def parse(config_class, text):
    """`lr=0.01` as {"lr": 0.01}, by the type of the setting."""
    name, equals, value = text.partition("=")
    fields = {field.name: field.default for field in dataclasses.fields(config_class)}
    if not equals or name not in fields:
        raise ValueError(
            f"expected NAME=VALUE with a NAME among {', '.join(fields)}; got {text!r}."
        )
    default = fields[name]
    if isinstance(default, bool):
        return {name: value.lower() in ("1", "true", "yes")}
    if isinstance(default, tuple):
        return {name: tuple(int(part) for part in value.split(","))}
    return {name: type(default)(value)}


def train_command(
    algo: Annotated[str, typer.Argument(help=f"One of {', '.join(ALGORITHMS)}.")],
    env: Annotated[str, typer.Option(help="Any Gymnasium environment, by name.")] = "",
    steps: Annotated[int, typer.Option(help="Environment steps; 0: as tuned.")] = 0,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds, one after another.")] = 1,
    out: Annotated[Path, typer.Option(help="Where run folders go.")] = Path("runs"),
    resume: Annotated[bool, typer.Option(help="Go on with the runs that are there.")] = False,
    save_every: Annotated[float, typer.Option(help="Seconds between saves.")] = 5.0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, a setting of the algorithm.")
    ] = None,
):
    """Train an agent; each seed becomes a run folder that can be resumed, loaded and plotted."""
    from pgcourse.rollout import evaluate

    try:
        module = algorithm(algo)
        changes = {}
        for text in setting or []:
            changes |= parse(module.Config, text)
        if steps:
            changes["total_steps"] = steps
        for s in range(seed, seed + seeds):
            config = module.Config.tuned(env or module.Config.env, **{"seed": s, **changes})
            folder = out / f"{algo}-{config.env.replace('/', '-')}" / f"seed-{s}"
            start = None
            if (folder / "config.json").exists():
                if not resume:
                    raise ValueError(f"{folder} is there already: --resume, or another --out.")
                _, config, start = read(folder)
                config = dataclasses.replace(config, **changes)
            saver = Saver(folder, save_every)
            try:
                result = module.train(config, callback=saver, start=start)
            except KeyboardInterrupt:
                kept = read(folder)[2]["steps"] if (folder / "config.json").exists() else 0
                typer.echo(f"\nInterrupted; {kept} steps are saved. Go on with --resume.", err=True)
                raise typer.Exit(130) from None
            returns = evaluate(result.policy, config.env)
            typer.echo(
                f"{folder}: {returns.mean():.1f} ± {returns.std():.1f} (mean and spread of "
                f"{len(returns)} fresh episodes without exploration)"
            )
    except ValueError as error:
        typer.echo(f"pgcourse train: {error}", err=True)
        raise typer.Exit(2) from None


def plot_command(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders, or folders of runs; default: runs.")
    ] = None,
    key: Annotated[str, typer.Option(help="return, entropy, kl, clip_fraction, …")] = "return",
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("curves.png"),
    animation: Annotated[
        Path | None, typer.Option(help="The first run's agent in motion, .gif or .webp.")
    ] = None,
):
    """Draw learning curves, one color an algorithm and task, with a band over the seeds."""
    import matplotlib

    matplotlib.use("agg")
    from pgcourse import plots

    try:
        groups = {}
        for folder in folders(runs or [Path("runs")]):
            name = f"{read(folder)[0]}, {read(folder)[1].env}"
            groups.setdefault(name, []).append(load(folder))
        plots.learning_curves(groups, key).figure.savefig(out, dpi=150)
        typer.echo(f"{sum(map(len, groups.values()))} runs: {out}")
        if animation:
            result = next(iter(groups.values()))[0]
            frames, total = plots.record_episode(result.policy, result.config.env)
            plots.save_animation(frames, animation)
            typer.echo(f"one episode, return {total:.1f}: {animation}")
    except (ValueError, KeyError) as error:
        typer.echo(f"pgcourse plot: {error}", err=True)
        raise typer.Exit(2) from None
