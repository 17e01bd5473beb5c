"""Worker processes that never outlive their parent and never die unnoticed.

No lock is held in common, so a worker that dies cannot stop the others or the parent: each has its
own pipe to the parent and its own entries in shared arrays.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, Self

import torch
from torch import multiprocessing


class Crew:
    """`n_workers` processes that share a budget of environment steps.

    For the parent, it stands where a Collector stands in the other loops: it has `steps`,
    `finished()` and a `generator`; `log` holds the latest numbers that a worker told.

    pause_every : after so many steps, again and again, the workers wait for the parent's `resume()`,
                  so that what it looks at does not change meanwhile. None: they never wait.
    """

    def __init__(
        self, n_workers: int, total_steps: int, seed: int, pause_every: int | None = None
    ) -> None:
        self.n_workers, self.total_steps, self.pause_every = n_workers, total_steps, pause_every
        self.parent = os.getpid()
        self.counts = torch.zeros(n_workers + 1, dtype=torch.int64).share_memory_()
        self.gate = torch.tensor(
            [pause_every or total_steps]
        ).share_memory_()  # all wait from there
        self.stop = torch.zeros(1, dtype=torch.bool).share_memory_()
        self.generator = torch.Generator().manual_seed(seed)
        self.episodes, self.log, self.told_at = [], {}, 0.0
        self.waits_at = [None] * n_workers  # the gate at which each of them has stopped

    @property
    def steps(self) -> int:
        return int(self.counts.sum())

    @steps.setter
    def steps(self, before: int) -> None:
        self.counts[-1] = before  # of an earlier run that this one resumes

    # ---- the parent's side

    @contextmanager
    def at_work(self, work: Callable, *arguments: Any) -> Iterator[Self]:
        """Start the workers on work(index, crew, *arguments); whatever happens, end them all."""
        # fork, where there is one: a function written in a notebook cannot be sent to a new process
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
        pipes = [context.Pipe(duplex=False) for _ in range(self.n_workers)]
        self.readers = [reader for reader, _ in pipes]
        workers = [
            context.Process(target=self._live, args=(i, pipes, work, arguments), daemon=True)
            for i in range(self.n_workers)
        ]
        self.workers = []
        try:
            for worker in workers:
                worker.start()
                self.workers.append(worker)
            yield self
        finally:
            self.stop[0] = True
            for worker in self.workers:
                worker.join(timeout=2)
            for end in ("terminate", "kill"):
                for worker in self.workers:
                    if worker.is_alive():
                        getattr(worker, end)()
                        worker.join(timeout=2)
            for reader, writer in pipes:
                reader.close()
                writer.close()

    def paused(self) -> bool:
        """Whether every worker waits. What they had to tell has been heard then."""
        return set(self.waits_at) == {self.gate.item()}

    def resume(self) -> None:
        """After a pause, let the workers make another `pause_every` steps."""
        if self.paused():
            self.gate[0] = self.steps + self.pause_every

    def listen(self, seconds: float) -> bool:
        """Hear the workers for a while, or until they pause; False once all have ended well.

        raises : RuntimeError if one has failed or died
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.paused():
            running = [worker.sentinel for worker in self.workers if worker.is_alive()]
            wait([*self.readers, *running], timeout=left)
            for reader in self.readers:
                while reader.poll():
                    self._hear(reader.recv())
            for i, worker in enumerate(self.workers):
                if worker.exitcode not in (None, 0):
                    raise RuntimeError(f"A3C worker {i} died (exit code {worker.exitcode}).")
            if not running:
                return any(reader.poll() for reader in self.readers)
        return True

    def _hear(self, message):
        if "error" in message:
            raise RuntimeError(f"A3C worker {message['worker']} failed:\n{message['error']}")
        self.episodes += [(self.steps, ret) for ret in message["returns"]]
        self.log = message["log"] or self.log
        self.waits_at[message["worker"]] = message["waits_at"]

    def finished(self) -> list[tuple[int, float]]:
        """The (step, return) of episodes that ended since the last call."""
        episodes, self.episodes = self.episodes, []
        return episodes

    # ---- a worker's side

    def _live(self, index, pipes, work, arguments):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends us
        torch.set_num_threads(1)
        self.pipe = pipes[index][1]
        for i, (reader, writer) in enumerate(pipes):
            reader.close()
            if i != index:
                writer.close()
        self.returns = []
        try:
            work(index, self, *arguments)
            self._report(index)
        except Exception:
            self._send({"worker": index, "error": traceback.format_exc()})

    def goes_on(self, index: int) -> bool:
        """Is there work left, and a parent to do it for? Waits here while the parent looks."""
        while os.getppid() == self.parent and not self.stop.item():
            gate = self.gate.item()
            if self.steps >= self.total_steps:
                return False
            if self.steps < gate:
                return True
            if self.waits_at[index] != gate:
                self.waits_at[index] = gate
                self._report(index)
            time.sleep(0.0005)
        return False

    def tell(self, index: int, collector: Any, log: dict) -> None:
        """Report progress; at most a few messages a second go through the pipe."""
        self.counts[index] = collector.steps
        self.returns += [ret for _, ret in collector.finished()]
        self.log = log
        if time.monotonic() - self.told_at > 0.1:
            self._report(index)

    def _report(self, index):
        self.told_at = time.monotonic()
        message = {"returns": self.returns, "log": self.log, "waits_at": self.waits_at[index]}
        self._send({"worker": index, **message})
        self.returns = []

    def _send(self, message):
        try:
            self.pipe.send(message)
        except BrokenPipeError:
            pass  # the parent is gone; goes_on() says so too
