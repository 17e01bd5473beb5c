"""Which mistake a wrong function makes: written ones, numbers solved, generic ones, two at once, symptoms.

Each name is proven by running: a function that makes the mistake does what was seen in every case. In
this order: the exercise's mistakes, with their numbers solved and on top of every right convention;
a factor; a factor on top; an edit that nobody wrote down; two mistakes; one mistake seen in one part.
"""

import ast
import contextlib
import itertools
import warnings
from collections import Counter
from dataclasses import dataclass, replace

import torch

from pgcourse.checks import drivers
from pgcourse.checks.compare import Fault, alike, factor
from pgcourse.checks.edits import HOLE, Mistake, compiled, fill, run_text, text_of
from pgcourse.checks.evidence import same
from pgcourse.checks.fit import roundings, solve, vector, with_holes
from pgcourse.checks.signs import tells

FACTS = {  # differences that say all there is to know
    "not written", "endless loop", "returns nothing", "exception", "no ValueError", "missing entry",
    "wrong type", "wrong shape", "wrong dtype", "borrowed",
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A mistake, or several, that were found by a search: what the learner reads."""

    name: str
    says: str
    why: str = ""
    wrong: object = None


def name(search):
    """(mistake, cases) that explain what was seen in every case, or (None, [])."""
    before = drivers.settings()
    try:
        with warnings.catch_warnings(action="ignore"):  # candidates make them, not the learner
            return explain(search)
    finally:
        drivers.put(before)


def explain(search):
    """As `name`; candidates that are run leave other random states."""
    found = written(search)
    if found:
        return found
    if not set(search.failing) & set(search.regular):
        return (search.only_guards and on_another_convention(search)) or (None, [])
    plain = search.fault and search.fault.name in FACTS
    for look in (on_another_convention, with_a_factor, *(() if plain else (by_search,))):
        found = look(search)
        if found:
            return found
    return None, []


def written(search):
    """One of the exercise's mistakes as it stands."""
    for m in search.exercise.pitfalls:
        if m.telltale:
            if (
                search.failing
                and not m.symptom
                and tells(m, search.exercise, search.seen, search.expected)
            ):
                return m, search.failing
        elif not holes(m) and any(agrees(search, fn, search.ran) for fn in variants(m)):
            return m, search.ran
    return None


def holes(m):
    return getattr(m, "holes", None)


def left_open(m):
    """The mistake without a word about its numbers, which were not solved."""
    return replace(m, values={name: Unknown(x) for name, x in m.holes.items()}) if holes(m) else m


def agrees(search, fn, cases, wrong=1):
    """Whether a mistake does what was seen on these cases, and is wrong on some of them."""
    return all(alike(search.seen[i], search.known(i, fn)) for i in cases) and wrong <= sum(
        not alike(search.known(i, fn), search.expected[i]) for i in cases
    )


def with_a_factor(search):
    """A factor, if that is all; or a mistake that agrees up to a factor."""
    given = [search.seen[i] for i in search.ran]

    def of(fn):
        return (search.known(i, fn) for i in search.ran)

    rights = search.exercise.rights
    c = next(filter(None, (factor(given, of(right)) for right in rights)), None)
    if c is not None:
        if round(c, 3) == -1:
            return Fault("wrong sign", "The result is off: the sign is reversed."), search.ran
        says = f"The result is off: it is {c:.4g} times the right one, in every case."
        return Fault("wrong factor", says), search.ran
    for m in search.exercise.pitfalls:
        for fn in () if m.telltale else variants(m):
            c = factor(given, of(fn))
            if c is not None:
                known = [*of(fn)]
                if all(factor(known, of(right)) is None for right in rights):
                    more = (
                        "its sign is reversed" if round(c, 3) == -1 else f"it is {c:.4g} times that"
                    )
                    # One number is proven with the factor; of several, some may not matter here.
                    m_says = m.says if len(holes(m) or ()) < 2 else left_open(m).says
                    says = f"{m_says} Besides, {more}."
                    return Found(m.name, says, m.why, fn), search.ran
    return None


def on_another_convention(search):
    """A written mistake in a function that follows another right convention, itself an edit."""
    conventions = search.exercise.accept_edits
    versions = [(m, v) for m, v in edit_versions(search) if not m.holes]  # those are solved later
    if len(conventions) * len(versions) > search.exercise.tries:
        return None
    for convention in conventions:
        for m, version in versions:
            fn = both(search, (convention, version), m)
            if fn and search.does(fn) and search.holds(fn):
                return Found(m.name, m.says, m.why, fn), search.ran
    return None


def by_search(search):
    """What has to be searched for, under one time limit."""
    limit = drivers.time_limit(search.exercise.seconds)
    found = None
    with contextlib.suppress(drivers.TimeLimit), limit:
        for look in (fitted, generic, two_mistakes):
            found = look(search)
            if found:
                break
    return found


def fitted(search):
    """A mistake with numbers that are solved from what was seen, and said."""
    cases = [i for i in search.ran if search.tells_apart(i)]
    # Huge numbers hide the others, and rounding hides what a small step does.
    cases.sort(key=lambda i: (largest(search.seen[i]) > 1e3, not is_double(search.seen[i]["out"])))
    tries = search.exercise.tries  # few where a call takes long
    slow, most = tries < len(search.exercise.pitfalls), len(cases) if tries > 1000 else 4
    open_versions = []
    for m in sorted(search.exercise.pitfalls, key=lambda m: len(holes(m) or ())):
        versions = [v for v in m.versions if isinstance(v, tuple)] if holes(m) else []
        if not slow:  # the same mistake on top of another right convention
            versions += [(*c, *v) for c in search.exercise.accept_edits for v in versions]
        open_versions += [(m, version) for version in versions]
    for m, version in open_versions:  # most write the usual number
        found = cases and exemplary(search, m, version, cases[:1])
        if found:
            return found, search.ran
    for m, version in open_versions:
        # Of several cases the numbers are sure; one alone is soon tried, and may be smoother.
        one = solved(search, m, version, cases[:1])
        for found in (one,) if slow else (solved(search, m, version, cases[:most]), one):
            found = found and fit(search, m, version, *found)
            if found:
                return found, search.ran
    return None


def is_double(out):
    return isinstance(out, torch.Tensor) and out.dtype == torch.float64


def largest(seen):
    numbers = vector(seen | {"grads": {}})
    return 0 if numbers is None else numbers.nan_to_num(0, 0, 0).abs().max().item()


def exemplary(search, m, version, cases):
    """The mistake with the numbers of its example, if it does with them what was seen."""
    try:
        fn, put = with_holes(m, version)
    except (ValueError, SyntaxError):  # it does not go together with the convention
        return None
    run, wanted = on(search, fn, put, cases)
    if wanted is None or not search.does(fn):
        return None
    return fit(search, m, version, [*m.holes.values()], fn, put, run, wanted)


def solved(search, m, version, cases):
    """(numbers, fn, put, run, wanted), solved from results (not gradients) of these cases, or None."""
    try:
        fn, put = with_holes(m, version)
    except (ValueError, SyntaxError):
        return None
    run, wanted = on(search, fn, put, cases)
    if wanted is None:
        return None
    h = solve(run, wanted, [*m.holes.values()])
    return None if h is None else (h, fn, put, run, wanted)


def on(search, fn, put, cases):
    """(run, wanted): what fn gives on the cases with numbers put in, and what was seen there (or None)."""
    wanted = [vector(search.seen[i] | {"grads": {}}) for i in cases]

    def run(h):
        put(h)
        seen = [search.quick(fn, i, grad=False) for i in cases]
        found = [None if s["error"] else vector(s) for s in seen]
        return None if any(f is None for f in found) else torch.cat(found)

    return run, None if not cases or any(w is None for w in wanted) else torch.cat(wanted)


def fit(search, m, version, h, fn, put, run, wanted):
    """The mistake with its numbers, if it does with them what was seen in every case; or None."""
    for rounded in roundings(run, wanted, h):
        put(rounded)
        if search.does(fn) and search.holds(fn):
            break
    else:
        return None
    known = dict(zip(m.holes, rounded, strict=True))
    for j, (hole, x) in enumerate(known.items()):  # a number that hardly matters is not said
        put([y + 0.05 * abs(x) * (j == k) for k, y in enumerate(rounded)])
        if search.does(fn):
            known[hole] = Unknown(x)
    rest = tuple(e for e in version if not HOLE.search(e.new))
    if rest and all(isinstance(x, Unknown) for x in known.values()):  # a clip that clips nothing
        if search.does(compiled(search.exercise.reference, rest)):
            return None
    return replace(m, values=known, versions=(version,))


class Unknown(float):
    """A number that could be another one: in a sentence it is left open."""

    def __format__(self, spec):
        return "…"


def generic(search):
    """One edit of the reference that nobody wrote down; its sentence comes with the operator."""
    for fn, e in generic_edits(search.exercise):
        if search.does(fn) and search.holds(fn):
            return Found(e.kind, e.says, "", fn), search.ran
    return None


def generic_edits(exercise):
    """(function, Edit) for each generic edit of the reference that compiles, kept with the exercise."""
    from pgcourse.checks.operators import edits
    from pgcourse.checks.operators.trees import function_tree

    if "generic" not in exercise.cached:
        reference = exercise.reference
        tree = function_tree(text_of(reference).head + text_of(reference).body)
        every = [*edits(tree)]
        often = Counter(e.kind for e in every)  # an edit that fits everywhere explains little,
        few = sorted(every, key=lambda e: (e.kind == "a constant", often[e.kind]))  # a number less
        few = few[: exercise.tries]
        exercise.cached["generic"] = [
            (fn, e) for e in few if (fn := runs(reference, e.tree)) is not None
        ]
    return exercise.cached["generic"]


def runs(reference, tree):
    try:
        return run_text(ast.Module([tree], []), reference)
    except (SyntaxError, ValueError, NameError, TypeError):
        return None


def edit_versions(search):
    """(mistake, edits) of every mistake that is made of edits, versions one by one."""
    for m in search.exercise.pitfalls:
        if isinstance(m, Mistake) and not m.telltale:
            for version in m.versions:
                if isinstance(version, tuple):
                    yield m, version


def both(search, parts, *mistakes):
    """The function with all these sets of edits, or None where they do not go together in any order."""
    values = {k: x for m in mistakes for k, x in m.holes.items()}
    parts = [[fill(e, values) for e in edits] for edits in parts if edits]
    for order in itertools.permutations(parts):
        with contextlib.suppress(ValueError, SyntaxError, KeyError):
            return compiled(search.exercise.reference, [*itertools.chain(*order)])
    return None


def two_mistakes(search):
    """Two of the exercise's mistakes at once, under any right convention."""
    if search.exercise.tries < len(search.exercise.pitfalls):
        return None
    conventions = ((), *search.exercise.accept_edits)
    return next(filter(None, (two_on(search, convention) for convention in conventions)), None)


def two_on(search, convention):
    """Two mistakes on top of a convention: both are said, in the order of the list."""
    passing = sorted(set(search.ran) - set(search.failing), key=lambda i: -search.size(i))[:4]
    failing = one_a_part(search, [i for i in search.ran if i in search.failing])
    candidates = []
    for m, version in edit_versions(search):
        fn = both(search, (convention, version), m)
        # What is right in a case must not be spoiled there by either of the two.
        if fn and all(same(search.expected[i], search.quick(fn, i)) for i in passing):
            does = [search.quick(fn, i) for i in failing]
            changes = [not same(search.expected[i], d) for i, d in zip(failing, does, strict=True)]
            agrees = [same(search.seen[i], d) for i, d in zip(failing, does, strict=True)]
            candidates.append((m, version, [*zip(changes, agrees, strict=True)]))
    pairs = (
        (a, first, b, second)
        for (a, first, one), (b, second, other) in itertools.combinations(candidates, 2)
        if a is not b and all(itertools.starmap(may_add_up, zip(one, other, strict=True)))
    )
    for a, first, b, second in itertools.islice(pairs, search.exercise.tries):
        fn = both(search, (convention, first, second), a, b)
        if fn and search.does(fn) and search.holds(fn):
            why = " ".join(filter(None, (a.why, b.why)))
            says = f"{left_open(a).says} And: {left_open(b).says}"
            return Found(f"{a.name}, and {b.name}", says, why, fn), search.ran
    return None


def may_add_up(one, other):
    """Whether two mistakes together may do what was seen in a case: each (changes it, does what was seen).

    What only one of them changes, that one alone must explain.
    """
    if one[0] and other[0]:
        return True
    return one[1] if one[0] else other[1] if other[0] else False


def one_a_part(search, cases):
    """The first two of these cases, and the first one of each other part."""
    chosen = cases[:2]
    for i in cases[2:]:
        if search.exercise.cases[i].part not in {search.exercise.cases[j].part for j in chosen}:
            chosen.append(i)
    return chosen


def in_one_part(search, earned):
    """Whoever makes several mistakes hears of one: the mistake that agrees on all cases of a part.

    It must be wrong on two of them, and not by a 0: two single numbers may be equal by accident.
    """
    exercise, seen, expected = search.exercise, search.seen, search.expected
    failed = [part for part, ok in earned.items() if not ok]
    for part in failed[:1] if exercise.ladder else failed:
        cases = [i for i in search.regular if exercise.cases[i].part == part]
        cases = [i for i in cases if not all_zero(seen[i]["out"])]
        cases.sort(key=lambda i: alike(seen[i], expected[i]))  # most drop out at the first
        if (
            len(cases) < 2
            or any(  # what another convention calls right tells nothing
                all(alike(seen[i], search.known(i, right)) for i in cases)
                for right in exercise.rights[1:]
            )
        ):
            continue
        fit = [
            m
            for m in exercise.pitfalls
            if not m.telltale and any(agrees(search, fn, cases, 2) for fn in variants(m))
        ]
        if len(fit) > 1 and sum(map(search.tells_apart, cases)) < 2:
            continue  # only nan, which has many causes
        if fit:  # of several that look alike in this part, the one that says least is true of all
            least = min(fit, key=lambda m: len(m.versions[0]) if made_of_edits(m) else 1)
            return left_open(least), cases
    return None, []


def made_of_edits(m):
    return isinstance(m, Mistake) and isinstance(m.versions[0], tuple)


def all_zero(out):
    return torch.is_tensor(out) and not out.any()


def variants(pitfall):
    return pitfall.wrong, *pitfall.also
