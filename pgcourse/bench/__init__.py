"""Benchmarks: this project and its peers, side by side in one run (`make bench`).

The peers live in an environment of their own, `.venv-bench`, made on first use. Every row runs both
sides seed by seed in turn, so that a machine that is busy for a minute slows both.
"""

from pathlib import Path
from typing import Annotated

import typer


def command(
    seeds: Annotated[int, typer.Option(help="Seeds for each row; the median is reported.")] = 5,
    only: Annotated[str, typer.Option(help="Rows whose name contains this.")] = "",
    peers: Annotated[
        Path | None, typer.Option(help="A Python that has stable-baselines3; default: .venv-bench.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the table and the plot go.")] = Path("bench"),
):
    """This project and Stable-Baselines3 until solved, import and check times; about 20 minutes."""
    from pgcourse.bench import run

    run.main(seeds, only, peers, out)
