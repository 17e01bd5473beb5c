"""A learner's whole agent, judged by what it does: `check_agent(2)` in lesson 2, and so on to lesson 5.

The agent is a file of the learner's own, `my_agent.py`, in plain Gymnasium and torch:

    train(env, steps, gamma, seed) -> policy              lesson 2; policy(obs) = probabilities [A]
    train(env, steps, gamma, seed) -> policy, value       from lesson 3; value(obs) = a number
    train(env, steps, gamma, seed, epochs)                from lesson 5: steps of the optimizer on one rollout

It is trained on small worlds that it has not seen. Each exposes one fault and is told apart from the right
behavior by a wide margin; of three runs with different seeds the middle one counts. The agent runs in a process
of its own: whatever it does (raise, never return, end the process), the check answers.

source : after Andy Jones 2021, "Debugging reinforcement learning systems" (probe environments)
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pgcourse.own_agent.verdicts import SECONDS, STAGES, probes, understood


def findings(path: str | Path, stage: int) -> list:
    """A list of Finding for a file: what it was trained on, one after the other, until it raised or hung."""
    path = Path(path).absolute()
    with tempfile.TemporaryDirectory(prefix="pgcourse-") as folder:
        out = Path(folder) / "measured"
        out.touch()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pgcourse.own_agent.worker", str(path), str(stage), str(out)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=path.parent,
        )  # fmt: skip
        try:
            wait(process, out)
        finally:
            stop(process)
        return understood(rows(out.read_text(encoding="utf-8")), stage)


def wait(process: subprocess.Popen, out: Path) -> None:
    """Until the process ends, or nothing new has come for SECONDS."""
    size, since = 0, time.monotonic()
    while process.poll() is None and time.monotonic() - since < SECONDS:
        time.sleep(0.1)
        if out.stat().st_size != size:
            size, since = out.stat().st_size, time.monotonic()


def rows(text: str) -> list:
    """What the worker wrote, up to a line that was cut off."""
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def stop(process: subprocess.Popen) -> None:
    """End the process and what it may have started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError, AttributeError):
        process.kill()
    process.wait()


@dataclass(frozen=True)
class Report:
    """What `check_agent` shows; passed: every probe is as it should be."""

    stage: int
    found: list

    @property
    def passed(self) -> bool:
        return len(self.found) == len(probes(self.stage)) and all(f.ok for f in self.found)

    @property
    def headline(self) -> str:
        right = sum(f.ok for f in self.found)
        names = ", ".join(dict.fromkeys(f.symptom for f in self.found if not f.ok))
        return (
            f"{'✓' if self.passed else '✗'} my_agent.py, lesson {self.stage}: {right} of {len(probes(self.stage))} worlds"
            + (f" — {names}" if names else "")
        )

    def __str__(self):
        lines = [self.headline]
        for f in self.found:
            lines.append(f"{'✓' if f.ok else '✗'} {f.probe}: expected {f.expected}; came {f.came}")
            if not f.ok:
                lines.append(f"    {f.symptom}. {f.do}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self):
        color = "#009E73" if self.passed else "#D55E00"
        rows = [f"<b>{escape(self.headline)}</b>"]
        for f in self.found:
            line = f"{'✓' if f.ok else '✗'} <b>{escape(f.probe)}</b>: expected {escape(f.expected)}; came {escape(f.came)}"
            rows.append(line if f.ok else f"{line}<br><i>{escape(f.symptom)}.</i> {escape(f.do)}")
        body = "".join(f"<div>{row}</div>" for row in rows)
        return f"<div role='status' style='border-left:.4em solid {color};padding:.4em .8em;margin:.3em 0'>{body}</div>"


def check_agent(stage: int, file: str = "my_agent.py") -> Report | None:
    """Judge the learner's own agent by what it does; about half a minute. Returns a Report, or None without a file.

    stage : the lesson, 2 to 5: what the agent should be able to do by then
    """
    if stage not in STAGES:
        raise ValueError(f"expected a lesson from 2 to {max(STAGES)}; got {stage}.")
    if not Path(file).is_file():
        print(f"There is no {file} beside this notebook yet. Write it, then run this cell again.")
        return None
    return Report(stage, findings(file, stage))
