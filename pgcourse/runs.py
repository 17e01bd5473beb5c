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
import math
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import torch
import typer

from pgcourse.envs import name_of
from pgcourse.record import BaseConfig, Recorder, Result

ALGORITHMS = ("reinforce", "a2c", "a3c", "ppo", "sac")


def algorithm(name: str) -> ModuleType:
    """The module of an algorithm, by its name."""
    if name not in ALGORITHMS:
        raise ValueError(f"there is no algorithm {name!r}; choose from {', '.join(ALGORITHMS)}.")
    return import_module(f"pgcourse.{name}")


class Saver:
    """A callback that saves the run every so many seconds: an interruption loses no more than that."""

    def __init__(self, folder: str | Path, seconds: float = 5.0) -> None:
        self.folder, self.seconds = Path(folder), seconds
        self.saved_at = time.monotonic()

    def __call__(self, recorder: Recorder) -> bool:
        if time.monotonic() - self.saved_at >= self.seconds or recorder.done():
            save(recorder, self.folder)
            self.saved_at = time.monotonic()
        return False


class TensorBoard:
    """A callback that writes every iteration's numbers where TensorBoard reads them.

    raises : ValueError if the package tensorboard, which nothing else here needs, is not installed
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError(
                "--tensorboard needs the package tensorboard: pip install tensorboard. Without it, "
                "`pgcourse plot` draws the same numbers from the run's folder."
            ) from None
        self.writer = SummaryWriter(str(folder), flush_secs=5)

    def __call__(self, recorder: Recorder) -> bool:
        numbers = dict(recorder.rows[-1])
        steps = int(numbers.pop("steps"))
        for key, x in numbers.items():
            if math.isfinite(x):  # the return is nan until an episode has ended
                self.writer.add_scalar(key, x, steps)
        if recorder.done():
            self.writer.close()
        return False


def together(callbacks: list[Callable]) -> Callable[[Recorder], bool]:
    """Several callbacks as one: all are called; any of them may end the training."""
    return lambda recorder: any([callback(recorder) for callback in callbacks])


def save(recorder: Recorder, folder: str | Path) -> None:
    """Write the state of a training to its folder."""
    import gymnasium

    import pgcourse

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = recorder.config
    settings = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    about = {
        "algorithm": type(config).__module__.rpartition(".")[2],
        "config": {**settings, "env": name_of(config.env)},
        "env_by_name": isinstance(
            config.env, str
        ),  # else it was made in Python, and is not in the file
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


def table(rows: Iterable[Iterable]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def write(path: Path, data: bytes) -> None:
    """Replace a file whole: a reader, or a crash, finds the old one or the new one."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(data)
    os.replace(beside, path)


def read(folder: str | Path, env: Any = None) -> tuple[str, BaseConfig, dict]:
    """The algorithm's name, the configuration and the checkpoint of a saved run.

    env    : for a run on an environment that was made in Python: that environment again
    raises : ValueError if there is no run, or it needs an `env`
    """
    folder = Path(folder)
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} is not a saved run: it has no config.json.")
    about = json.loads((folder / "config.json").read_text())
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in about["config"].items()}
    if env is None and not about.get("env_by_name", True):
        raise ValueError(
            f"{folder} was trained on {settings['env']}, an environment made in Python: "
            "give it again, load(folder, env=…)."
        )
    settings["env"] = settings["env"] if env is None else env
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    return about["algorithm"], algorithm(about["algorithm"]).Config(**settings), checkpoint


def load(folder: str | Path, env: Any = None) -> Result:
    """A saved run as a `Result`: policy, history and returns, as `train` had returned it; see `read`."""
    name, config, checkpoint = read(folder, env)
    reached = dataclasses.replace(config, total_steps=max(1, checkpoint["steps"]))
    result = algorithm(name).train(reached, progress=False, start=checkpoint)  # takes no step
    return dataclasses.replace(result, config=config)


def folders(paths: Iterable[str | Path]) -> list[Path]:
    """The run folders among and below some paths, in order."""
    found = sorted({p.parent for path in paths for p in Path(path).rglob("config.json")})
    if not found:
        raise ValueError(f"no saved run in {', '.join(map(str, paths))}.")
    return found


def parse(config_class: type[BaseConfig], text: str) -> dict[str, Any]:
    """`lr=0.01` as {"lr": 0.01}, by the type of the setting."""
    name, equals, value = text.partition("=")
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    fields = {k: f for k, f in fields.items() if k not in ("env", "env_kwargs")}
    if not equals or name not in fields:
        raise ValueError(
            f"expected NAME=VALUE with a NAME among {', '.join(fields)}; got {text!r}."
        )
    default, hint = fields[name].default, str(fields[name].type)
    try:
        if isinstance(default, bool):
            return {name: {"true": True, "false": False, "1": True, "0": False}[value.lower()]}
        if isinstance(default, tuple):
            return {name: tuple(int(part) for part in value.split(","))}
        if "None" in hint and value.lower() == "none":
            return {name: None}
        return {name: int(value) if "int" in hint else float(value)}
    except (ValueError, KeyError):
        kind = "true or false" if isinstance(default, bool) else f"like {default!r} ({hint})"
        raise ValueError(f"expected {name} {kind}; got {value!r}.") from None


def keywords(text: str) -> dict[str, Any]:
    """A JSON object, `{"g": 9.8}`, as keywords for an environment."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"""expected --env-kwargs like '{{"g": 9.8}}' (JSON); got {text!r}.""")
    return found


def tell(message: object, *_: object, **__: object) -> None:
    """A warning in one line, without the place in the code that gave it."""
    typer.echo(f"pgcourse: {message}", err=True)


def train_command(
    algo: Annotated[str, typer.Argument(help=f"One of {', '.join(ALGORITHMS)}.")],
    env: Annotated[
        str,
        typer.Option(
            help="A Gymnasium environment by its id; module:id or module:function, found from the current "
            "folder, for one of your own. Observations: whatever Gymnasium flattens to numbers. Actions: "
            "Discrete, MultiDiscrete, MultiBinary or Box of real numbers (SAC: Box with bounds)."
        ),
    ] = "",
    env_kwargs: Annotated[
        str, typer.Option(help="Keywords for the environment, as JSON: '{\"g\": 9.8}'.")
    ] = "",
    steps: Annotated[
        int,
        typer.Option(
            help="Environment steps; 0: as tuned. What that reaches, and in what time: bench/reached.md."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds, one after another.")] = 1,
    out: Annotated[Path, typer.Option(help="Where run folders go.")] = Path("runs"),
    resume: Annotated[bool, typer.Option(help="Go on with the runs that are there.")] = False,
    save_every: Annotated[float, typer.Option(help="Seconds between saves.")] = 5.0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, a setting of the algorithm.")
    ] = None,
    normalize_obs: Annotated[
        bool,
        typer.Option(
            "--normalize-obs",
            help="Observations by their running mean and variance, saved with the policy (PPO, A2C).",
        ),
    ] = False,
    mask: Annotated[
        bool,
        typer.Option(
            "--mask",
            help="Never take an action that the environment calls invalid, by info['action_mask'] or "
            "action_masks() (PPO, A2C; discrete actions).",
        ),
    ] = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            help="Write every iteration's numbers there too, for TensorBoard; needs the package tensorboard."
        ),
    ] = None,
) -> None:
    """Train an agent; each seed becomes a run folder that can be resumed, loaded and plotted."""
    from pgcourse.rollout import evaluate

    sys.path.insert(0, os.getcwd())  # as `python -m` does: an environment of one's own lies there
    warnings.showwarning = tell
    try:
        module = algorithm(algo)
        changes: dict[str, Any] = {"env_kwargs": keywords(env_kwargs)} if env_kwargs else {}
        for text in setting or []:
            changes |= parse(module.Config, text)
        for name, wanted in (("normalize_obs", normalize_obs), ("mask", mask)):
            if wanted and not hasattr(module.Config, name):
                raise ValueError(f"{algo} has no --{name.replace('_', '-')}; ppo and a2c have.")
            changes |= {name: True} if wanted else {}
        if steps:
            changes["total_steps"] = steps
        for s in range(seed, seed + seeds):
            config = module.Config.tuned(env or module.Config.env, **{"seed": s, **changes})
            folder = out / f"{algo}-{re.sub('[/:]', '-', config.env)}" / f"seed-{s}"
            start = None
            if (folder / "config.json").exists():
                if not resume:
                    raise ValueError(f"{folder} is there already: --resume, or another --out.")
                _, config, start = read(folder)
                config = dataclasses.replace(config, **changes)
            watchers: list[Callable] = [Saver(folder, save_every)]
            if tensorboard:
                watchers.append(TensorBoard(tensorboard / folder.relative_to(out)))
            try:
                result = module.train(config, callback=together(watchers), start=start)
            except KeyboardInterrupt:
                kept = read(folder)[2]["steps"] if (folder / "config.json").exists() else 0
                typer.echo(f"\nInterrupted; {kept} steps are saved. Go on with --resume.", err=True)
                raise typer.Exit(130) from None
            returns = evaluate(result.policy, config.env, **config.env_kwargs)
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
) -> None:
    """Draw learning curves, one color an algorithm and task, with a band over the seeds."""
    import matplotlib

    matplotlib.use("agg")
    from pgcourse import plots

    sys.path.insert(0, os.getcwd())
    warnings.showwarning = tell
    try:
        groups = {}
        for folder in folders(runs or [Path("runs")]):
            name = f"{read(folder)[0]}, {read(folder)[1].env}"
            groups.setdefault(name, []).append(load(folder))
        plots.learning_curves(groups, key).figure.savefig(out, dpi=150)
        typer.echo(f"{sum(map(len, groups.values()))} runs: {out}")
        if animation:
            result = next(iter(groups.values()))[0]
            task = result.config
            frames, total, steps = plots.record_episode(result.policy, task.env, **task.env_kwargs)
            plots.save_animation(frames, animation)
            typer.echo(f"one episode, return {total:.1f}{plots.shown(steps)}: {animation}")
    except (ValueError, KeyError) as error:
        typer.echo(f"pgcourse plot: {error}", err=True)
        raise typer.Exit(2) from None
