"""The search for the edits of a learner's function after which everything is right.

Every candidate is run, on copies: first on one small case that was wrong, then on all that were, and on
every case from three seeds if it gets that far. Which are tried first is a guess (see `Search.ranked`);
what is found is not.
"""

import ast
import builtins
import contextlib
import difflib
import inspect
import re
import time
from dataclasses import dataclass, replace

import torch

from pgcourse.checks import budget, drivers
from pgcourse.checks.absurd import absurd, replaces
from pgcourse.checks.compare import close, close_grad, difference
from pgcourse.checks.grafts import Pieces, grafts, readings, unfolded
from pgcourse.checks.guards import misshapen, refused
from pgcourse.checks.moves import guards, moves, size
from pgcourse.checks.operators import edits, scope_of
from pgcourse.checks.sources import copied_space
from pgcourse.checks.together import alike, together
from pgcourse.checks.traces import (
    SEE,
    Values,
    all_paths,
    at,
    given_as,
    helper_of,
    names_of,
    pool,
    same_names,
    told,
    touches,
    tree_of,
    watched,
    watched_helpers,
    worth,
)

LATER = {  # kinds of edits that are many and seldom right: how much later they are tried
    "one name for another": 0.1,
    **dict.fromkeys(["the arguments of a call", "a part is left", "two names exchanged"], 0.5),
    **dict.fromkeys(["a count", "a factor elsewhere", "detach elsewhere"], 0.5),
    **dict.fromkeys(["an expression", "an operation is missing", "a statement is missing"], 1),
    **dict.fromkeys(["a factor too many", "not divided by a count"], 1),
    **dict.fromkeys(["a call too many", "a line elsewhere"], 1.2),
    "one expression for another": 1.4,
}
OF_OTHERS = {"an expression", "an operation is missing", "one expression for another"}
QUIET = {  # edits that leave every value as it is: of gradients, of what is done to objects
    "detach dropped",
    "detach added",
    "detach elsewhere",
    "copied",
    "a call left out",
    "a statement is missing",
    "a statement left out",
    "statements in another order",
    "a line elsewhere",
    "inside and outside a block",
}
FEW = {"a check is missing", "the same of another"}  # and likely
LONG = 200  # nodes of a long text
MISSHAPEN = 4  # cases of which other shapes are made
MANY = 12  # uneven numbers, so many that no two values are equal by chance
OTHER_SEEDS = ("where 1", "where 2")  # beside the one that was judged


@dataclass(frozen=True)
class Candidate:
    """Edits of a source.

    rank  : when it is tried
    guilt : 0 at the first wrong value … 2 at a right one
    other : whether what comes out of it is right by another convention than the reference's
    """

    rank: float
    guilt: float
    source: object
    edits: tuple
    other: bool = False


class Search:
    """The edits of one submission, and what is known of where to begin."""

    def __init__(self, sources, exercise, seed, seen, deadline):
        self.sources, self.exercise, self.seed, self.deadline = sources, exercise, seed, deadline
        self.space = copied_space(sources)
        self.own = {s.name: self.space[s.name] for s in sources}
        _, faults = exercise.convention(seen, seed)
        failing = [i for i, f in enumerate(faults) if f]
        unclean = [i for i, s in enumerate(seen) if (s["modified"] or s["state"]) and not faults[i]]
        known = [exercise.known_on(i, exercise.reference, seed) for i in range(len(seen))]
        self.seconds = max(budget.CANDIDATE, 20 * max(k["seconds"] for k in known))
        # The quick ones first; below 10 ms it is chance which is quicker, and the answer must not be.
        self.order = sorted(
            failing or unclean,
            key=lambda i: (exercise.cases[i].raises, round(known[i]["seconds"], 2), i),
        )
        self.modified = not failing
        self.made = {}
        self.halfway = []  # edits after which the first case is right, and not all of them
        self.rights = [(right, tree) for right in exercise.rights if (tree := tree_of(right))]
        self.unfolded = [unfolded(tree, helper_of(right)) for right, tree in self.rights[:1]]
        self.case = self.order[0]
        self.telling = max(
            self.order, key=lambda i: (not exercise.cases[i].raises, self.variety(i))
        )
        told_right = exercise.known_on(self.telling, exercise.reference, seed)["out"]
        self.value_off = not close(seen[self.telling]["out"], told_right)
        self.keys_off = keys_off(seen[self.telling]["out"], told_right)
        # what refuses bad input is looked at where something is refused, or should be
        self.refused = any(exercise.cases[i].raises or seen[i]["error"] for i in self.order)
        self.only_refuses = all(exercise.cases[i].raises for i in self.order)
        self.pool, self.theirs = set(), []
        for right, tree in self.rights:
            paths, space = all_paths(tree), dict(inspect.unwrap(right).__globals__)
            helpers = watched_helpers(tree, space)
            values = self.values(watched(tree, paths), space)
            self.pool.update(*map(pool, (values, *helpers)))
            self.theirs.append(names_of(tree, paths, values))

    def values(self, tree, space, name=None):
        """What the watched expressions of a tree were worth on the case that is looked at."""
        values, put_back = Values(), {n: space.get(n) for n in (SEE, tree.name)}
        space[SEE] = values.see
        with contextlib.suppress(Exception, SystemExit, drivers.TimeLimit):
            exec(compile(ast.Module([tree], []), "<watched>", "exec"), space)
            self.call(space[name or tree.name], self.telling)
        space.update(put_back)
        return values

    def run(self):
        """Candidates that are proven, of one edit or else of two; []"""
        own, now = self.sources[0], time.process_time()
        candidates = [c for source in self.sources for c in self.ranked(source, source.tree)]
        candidates.sort(key=lambda c: c.rank)
        share = (
            0.9 if self.exercise.slow else 0.6
        )  # for two there is no time where a call takes long
        found = self.search(candidates, now + share * (self.deadline - now))
        return found or self.run_twice(own)

    def search(self, candidates, until):
        """Those that are proven; after the first the search goes on for a little."""
        proven = []
        for c in candidates:
            if (proven and c.rank > proven[0].rank + 2) or time.process_time() > until:
                break
            if self.proves(c.source, c.edits):
                until = until if proven else min(until, time.process_time() + budget.SMALLER)
                proven.append(replace(c, other=self.other))
        return proven

    def run_twice(self, own):
        """Two edits: the first makes some value or the first case right, the second all the rest."""
        firsts = [e for s, e in self.halfway if s is own] + self.mends_a_value(own)
        firsts.sort(key=cost)
        for n, first in enumerate(firsts):
            left = self.deadline - time.process_time()
            if left < 0:
                break
            candidates = self.ranked(own, first.tree)
            until = time.process_time() + max(0.1, left / min(6, len(firsts) - n))
            found = self.search(candidates, min(until, self.deadline))
            if found:
                return [replace(c, edits=(first, *c.edits)) for c in found]
        return []

    def mends_a_value(self, own):
        found, until = [], time.process_time() + 0.25 * (self.deadline - time.process_time())
        for c in self.ranked(own, own.tree):
            edit = c.edits[0]
            if c.rank >= 1.5 or time.process_time() > until:
                break
            if isinstance(edit.new, list) or len(c.edits) > 1:
                continue
            paths = [edit.path, *outer_paths(own.tree, edit.path)]
            with contextlib.suppress(SyntaxError, ValueError, AttributeError):
                values = self.values(watched(edit.tree, paths), self.space)
                right = [k for k in values.of if told(values.of[k]) and self.innocent(values.of[k])]
                if any(paths[k] in self.guilty for k in right):
                    found.append(edit)
        return found

    def innocent(self, values):
        return all(v is None or v in self.pool for v in values)

    def ranked(self, source, tree):
        """Candidates, the likely first: by their kind, and by the values at their place."""
        paths = all_paths(tree)
        values = self.values(watched(tree, paths), self.space, self.sources[0].name)
        wrong = {
            paths[k] for k, seen in values.of.items() if told(seen) and not self.innocent(seen)
        }
        right = [paths[k] for k, seen in values.of.items() if told(seen) and paths[k] not in wrong]
        # what a right value was made of is right
        wrong = {p for p in wrong if not any(p[: len(q)] == q for q in right)}
        if self.exercise.cases[self.telling].raises:
            wrong = set()
        by_key = given_as(tree, self.keys_off)
        self.guilty = wrong = wrong | by_key
        lowest = {
            p
            for p in wrong
            if not isinstance(at(tree, p), ast.Name)
            and not any(q != p and q[: len(p)] == p for q in wrong)
        } | by_key
        lines = {at(tree, p).lineno for p in lowest}

        def guilt_of(path):
            """0: at the first value that is wrong, or with no wrong value to go by; 2: at a right value."""
            if not wrong or any(touches(path, p) for p in lowest):
                return 0
            return 1 if path in wrong else 2

        # of a long text only what is likely is rewritten with what stands elsewhere
        likely = None if size(tree) < LONG else lambda path: guilt_of(path) == 0
        mine = names_of(tree, paths, values)
        single, lent = [*edits(tree)], ()
        for (_, right), theirs in zip(self.rights[:1], self.theirs, strict=False):
            taken = dict(zip(argument_names(right), argument_names(tree), strict=False))
            names = same_names(theirs, mine, taken)
            given = self.inputs(self.telling)
            columns = [taken[x] for x in taken if torch.is_tensor(given.get(x)) and given[x].dim()]
            others = worth(theirs, names, tree, paths, values)
            read = readings(tree, columns)
            pieces = Pieces(right, names, self.knows, self.unfolded, read, others)
            lent = grafts(tree, pieces, likely)
        single += moves(tree, scope_of(tree), likely)
        candidates = [(e,) for e in (*single, *lent)]
        candidates += together(tree, scope_of(tree), single)

        def guilt(edit):
            if edit.kind in FEW:
                return 0
            if wrong and isinstance(edit.new, list):
                return 0 if edit.line in lines else 1
            return guilt_of(edit.path)

        def candidate(parts):
            edit = parts[0]
            kind = LATER.get(edit.kind, 0)
            at_fault = (max if alike(parts) else min)(map(guilt, parts))
            if self.only_refuses and not any(of_checks(tree, e) for e in parts):
                at_fault = 2
            if edit.kind == "an expression" and size(edit.new) <= 4:
                kind = 0.5
            elif edit.kind in OF_OTHERS and likely:  # many, and each takes its time
                kind += 1
            # a gradient does not mend a value; where no value is wrong, it is a gradient
            loud = 0.75 * ((edit.kind in QUIET) == (bool(wrong) and self.value_off))
            loud *= edit.kind not in FEW and (not wrong or self.value_off)
            return Candidate(kind + loud + 1.5 * at_fault, at_fault, source, parts)

        def fits(parts):
            aside = not self.refused and all(of_checks(tree, e) for e in parts)
            return not aside and not any(map(absurd, parts))

        fit = filter(fits, candidates)
        return sorted(map(candidate, fit), key=lambda c: c.rank)

    def knows(self, name):
        return name in self.space or hasattr(builtins, name)

    def proves(self, source, edits):
        """Whether everything is right after these edits of the source."""
        edit = edits[-1]
        fn = self.function(source, edit.tree)
        try:
            if fn is None or not self.passes(fn, self.case):
                return False
            if not all(self.passes(fn, i) for i in self.order[1:]):
                if len(edits) == 1:
                    self.halfway.append((source, edit))
                return False
            if edit.kind in OF_OTHERS and replaces(source.tree, edit):
                return False
            return self.right(fn)
        finally:
            self.space[source.name] = self.own[source.name]

    def function(self, source, tree):
        """The submission with this tree in place of one source's, until the next one is made."""
        try:
            exec(compile(ast.Module([tree], []), "<edited>", "exec"), self.space)
        except Exception:
            return None
        return self.space[self.sources[0].name]

    def call(self, fn, i):
        """(what the driver makes of one call, the arguments given, those there were)"""
        args = drivers.copy_plain(self.inputs(i))
        driver, grad = drivers.DRIVERS[self.exercise.driver], self.exercise.cases[i].grad
        return drivers.within(self.seconds, driver, fn, args, grad), args

    def inputs(self, i):
        if i not in self.made:
            self.made[i] = self.exercise.inputs(i, self.seed)
        return self.made[i]

    def variety(self, i):
        """How many numbers of case i are no whole ones, up to MANY: values that are equal by chance tell nothing."""
        given = [x for x in self.inputs(i).values() if torch.is_tensor(x) and x.is_floating_point()]
        found = sum(int((x % 1).count_nonzero()) for x in given if x.numel() <= 10 * MANY)
        return min(found, MANY)

    def passes(self, fn, i):
        """Whether case i is right, by one quick call; side effects are looked at later."""
        case = self.exercise.cases[i]
        seen = dict(error=None, timeout=False, out=None, grads={})
        try:
            (out, grads), args = self.call(fn, i)
        except KeyboardInterrupt:
            raise
        except BaseException as e:
            if not case.raises:
                return False
            seen["error"] = {"type": type(e).__name__, "message": str(e), "line": ""}
        else:
            seen["out"], seen["grads"] = drivers.copy_plain(out), drivers.copy_plain(grads)
            if self.modified and not drivers.same_plain(args, self.inputs(i)):
                return False
        return any(
            (case.raises or quick(seen, right)) and difference(seen, right, case) is None
            for right in (self.exercise.known_on(i, r, self.seed) for r in self.exercise.rights)
        )

    def right(self, fn):
        if any(self.exercise.cases[i].raises for i in self.order) and not self.refuses(fn):
            return False
        for seed in (self.seed, *OTHER_SEEDS):
            seen = self.exercise.observe(fn, seed)
            expected, faults = self.exercise.convention(seen, seed)
            if any(faults):
                return False
            self.other = expected[0] is not self.exercise.known_on(0, self.exercise.reference, seed)
            if any(s["modified"] or s["state"] for s in seen):
                return False
        return True

    def refuses(self, fn):
        """Whether it refuses other shapes than the cases have, too, where the reference does."""
        if self.exercise.driver not in drivers.PLAIN:
            return True
        sound = [i for i, case in enumerate(self.exercise.cases) if not case.raises][:MISSHAPEN]
        others = (args for i in sound for args in misshapen(self.inputs(i)))
        return all(
            refused(fn, args, self.seconds)
            for args in others
            if refused(self.exercise.reference, args, self.seconds)
        )


def of_checks(tree, edit):
    """Whether it is an edit of what only refuses."""
    return edit.kind == "a check is missing" or guards(tree, edit.path)


def keys_off(out, right):
    """The keys of a table by which something else is found than should be."""
    if not isinstance(out, dict) or not isinstance(right, dict):
        return set()
    return {key for key, x in right.items() if key in out and not close(out[key], x)}


def outer_paths(tree, path):
    """Paths of the expressions around a place, up to its statement."""
    known = {p for p in all_paths(tree)}
    return [path[:n] for n in range(len(path) - 1, 0, -1) if path[:n] in known]


def quick(seen, right):
    """Whether the numbers agree; difference says no with many words."""
    grads = right["grads"].items()
    return close(seen["out"], right["out"]) and all(
        close_grad(seen["grads"].get(name), grad) for name, grad in grads
    )


def cost(edit):
    """Tokens that go and come."""
    a, b = (re.findall(r"\w+|\S", x) for x in (edit.before, edit.after))
    blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return len(a) + len(b) - 2 * sum(block.size for block in blocks)


def argument_names(tree):
    return [x.arg for x in (*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs)]
