"""Where the mistake is, in the learner's own text: an edit of a line after which everything is right.

The function is edited, one place at a time, and what comes out is run: first on one small case that
was wrong, and on all cases, made from three seeds, if it gets that far. So a located line is proven,
not guessed. The edited functions run on copies; the learner's objects are left alone.
"""

import ast
import contextlib
import copy
import signal
import sys
import threading
import time
import types
import warnings
from dataclasses import dataclass

import torch

from pgcourse.checks import drivers
from pgcourse.checks.operators import edits
from pgcourse.checks.sources import names_in, sources_of

CANDIDATE_SECONDS = 0.1  # for one call of an edited function, and 20 times what the reference takes
OTHER_SEEDS = ("where 1", "where 2")  # beside the one that was judged
EFFECTS = {"open", "system", "popen", "Popen", "run", "remove", "unlink", "rmtree", "input"}


@dataclass(frozen=True)
class Located:
    """A change of the learner's text that was seen to make everything right.

    line   : number of the line in its cell or file
    text   : that line as it stands there
    change : the change, as the lines of a small diff
    says   : where and what, in a sentence
    """

    line: int
    text: str
    change: str
    says: str


class Spent(Exception):
    """The time for the search is over."""


def locate(fn, exercise, seed, seen, budget=2.0):
    """The Located of a wrong function, or None: no text, no time, or nothing found.

    seen   : the observations of `fn` on the exercise's cases, from `seed`
    budget : CPU seconds
    """
    started = time.process_time()
    sources = sources_of(fn)
    interruptible = (
        hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    )
    if not sources or not interruptible or exercise.driver == "entry":
        return None
    if any(names_in(s.fn.__code__) & EFFECTS for s in sources):
        return None
    threads, before = torch.get_num_threads(), drivers.settings()
    torch.set_num_threads(1)
    silent = warnings.catch_warnings(action="ignore")
    try:
        with silent, contextlib.redirect_stdout(drivers.Capped()):
            search = Search(sources, exercise, seed, seen, started + budget)
            return search.run()
    except Spent:
        return None
    finally:
        drivers.restore(before)
        torch.set_num_threads(threads)


class Search:
    def __init__(self, sources, exercise, seed, seen, deadline):
        self.sources, self.exercise, self.seed, self.deadline = sources, exercise, seed, deadline
        self.space = copied_space(sources)
        self.own = {s.name: self.space[s.name] for s in sources}
        self.seen = seen
        self.rights = (exercise.reference, *exercise.accept)
        _, faults = exercise.convention(seen, seed)
        self.failing = [i for i, f in enumerate(faults) if f]
        self.unclean = [i for i, s in enumerate(seen) if s["modified"] or s["state"]]
        known = {i: exercise.known_on(i, exercise.reference, seed) for i in range(len(seen))}
        self.seconds = max(CANDIDATE_SECONDS, 20 * max(k["seconds"] for k in known.values()))
        self.order = sorted(
            self.failing, key=lambda i: (exercise.cases[i].raises, known[i]["seconds"])
        )
        self.tried = self.compiled = 0

    def run(self):
        for source in self.sources:
            for edit in edits(source.tree):
                if self.proves(source, edit.tree):
                    return self.located(source, edit)
        return None

    def located(self, source, edit):
        line = source.lines[edit.line - 1].strip()
        return Located(
            source.first + edit.line - 1, line, f"- {edit.before}\n+ {edit.after}", edit.kind
        )

    def proves(self, source, tree):
        """Whether everything is right with this tree in place of the source's."""
        if time.process_time() > self.deadline:
            raise Spent
        self.tried += 1
        fn = self.function(source, tree)
        if fn is None:
            return False
        try:
            return all(self.passes(fn, i) for i in self.order) and self.right(fn)
        finally:
            self.space[source.name] = self.own[source.name]

    def function(self, source, tree):
        """The submission with this tree in place of one source's, until the next one is made."""
        try:
            exec(compile(ast.Module([tree], []), "<edited>", "exec"), self.space)
        except Exception:
            return None
        self.compiled += 1
        return self.space[self.sources[0].name]

    def passes(self, fn, i):
        """Whether case i is right, by one quick call; side effects are looked at later."""
        from pgcourse.checks.core import difference

        case, args = self.exercise.cases[i], self.exercise.inputs(i, self.seed)
        seen = dict(error=None, timeout=False, out=None, grads={})
        try:
            with drivers.time_limit(self.seconds):
                seen["out"], seen["grads"] = drivers.DRIVERS[self.exercise.driver](
                    fn, args, case.grad
                )
        except KeyboardInterrupt:
            raise
        except BaseException as e:
            seen["error"] = {"type": type(e).__name__, "message": "", "line": ""}
            if not case.raises:
                return False
        seen["out"], seen["grads"] = (
            drivers.copy_plain(seen["out"]),
            drivers.copy_plain(seen["grads"]),
        )
        return any(
            difference(seen, self.exercise.known_on(i, right, self.seed), case) is None
            for right in self.rights
        )

    def right(self, fn):
        for seed in (self.seed, *OTHER_SEEDS):
            seen = self.exercise.observe(fn, seed)
            if any(self.exercise.convention(seen, seed)[1]):
                return False
            if any(s["modified"] or s["state"] for s in seen):
                return False
        return True


def copied_space(sources):
    """A copy of the names that the functions run among, with copies of the data that they name."""
    fn = sources[0].fn
    space = dict(fn.__globals__)
    for source in sources:
        for name, cell in zip(
            source.fn.__code__.co_freevars, source.fn.__closure__ or (), strict=True
        ):
            space[name] = cell.cell_contents
    for name in set().union(
        *(names_in(s.fn.__code__) | {*s.fn.__code__.co_freevars} for s in sources)
    ):
        value = space.get(name)
        if name in space and not (callable(value) or isinstance(value, types.ModuleType)):
            space[name] = copy.deepcopy(value)
    for source in sources:
        exec(compile(ast.Module([source.tree], []), "<copied>", "exec"), space)
    return space
