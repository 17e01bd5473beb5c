"""Which mistake a wrong function makes: written ones, numbers solved, generic ones, two at once, symptoms.

Each name is proven by running: a function that makes the mistake does what was seen in every case. In
this order: the exercise's mistakes, with their numbers solved and on top of every right convention;
a factor; a factor on top; an edit that nobody wrote down; two mistakes. Where no symptom tells either,
other forms and an edit on top of a written mistake (`unwritten`); last, one mistake seen in one part.
"""

import math
import warnings
from dataclasses import replace

import torch

from pgcourse.checks import drivers
from pgcourse.checks.compare import Fault, alike, factor
from pgcourse.checks.edits import HOLE, Unknown, compiled, left_open
from pgcourse.checks.evidence import Found
from pgcourse.checks.fit import roundings, solve, vector, with_holes
from pgcourse.checks.generic import further, generic, on_top
from pgcourse.checks.pairs import edit_versions, two_mistakes, with_convention
from pgcourse.checks.signs import tells

FACTS = {  # differences that say all there is to know
    "not written", "endless loop", "returns nothing", "exception", "no ValueError", "missing entry",
    "wrong type", "wrong shape", "wrong dtype", "borrowed",
}  # fmt: skip


MOST = 8  # cases from which numbers are solved
FAR = 1e6  # times its example: so far off a number is not what the sentence speaks of


def best(search, earned):
    """(mistake, cases) that tell most: a name that is proven in every case, else a symptom, else what one part says.

    Candidates leave other random states and warnings, which are not the learner's.
    """
    with drivers.steady(), warnings.catch_warnings(action="ignore"):
        return looked_for(search, earned)


def looked_for(search, earned):
    exercise, failing = search.exercise, search.failing
    found, where = explain(search)
    if found:
        return found, where
    tell = (p for p in exercise.pitfalls if p.symptom and tells(p, exercise, search.seen, search.expected))  # fmt: skip
    symptom = next(tell, None)
    if not symptom:
        found, where = unwritten(search)
    if found or not failing or search.fault.name:
        return found, where
    found = search.look(in_one_part, earned)
    if found:
        return found
    broken = [i for i in failing if search.faults[i].name == "exception"]
    if broken:  # an exception tells more than a number that is off
        return search.faults[exercise.smallest(broken, search.seed)], []
    return symptom, exercise.first_part(failing)


def unwritten(search):
    """(mistake, cases) that nobody wrote down, looked for when no symptom tells either; or (None, [])."""
    if search.fault and search.fault.name in FACTS or not {*search.failing} & {*search.regular}:
        return None, []
    return search.look(further) or search.look(on_top) or beside_an_overflow(search)


OVERFLOW = "Large numbers overflow, or small ones vanish, on the way: moderate ones come out right."


def beside_an_overflow(search):
    """What is wrong where no number overflowed; or that some did, if nothing else is."""
    over = search.overflowed()
    if not over:
        return None, []
    if not set(search.failing) - {*over}:
        return Found("overflow", OVERFLOW), over
    found, where = explain(replace(search, aside=over, failing=[*{*search.failing} - {*over}]))
    if found:
        says = (
            f"{found.says} Besides, with large numbers something overflows: nan or inf comes out."
        )
        found = Found(f"{found.name}, and overflow", says, getattr(found, "why", ""))
    return found, where


def explain(search):
    """(mistake, cases) that explain what was seen in every case, or (None, [])."""
    found = search.look(written) or nothing_left(search)
    if found:
        return found
    if not set(search.failing) & set(search.regular):
        return (search.only_guards and search.look(on_another_convention)) or (None, [])
    for find in (on_another_convention, with_a_factor):
        found = search.look(find)
        if found:
            return found
    if search.fault and search.fault.name in FACTS:
        return None, []
    return search.look(fitted) or search.look(generic) or search.look(two_mistakes) or (None, [])


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
        elif not m.holes and any(agrees(search, fn, search.ran) for fn in m.functions):
            return m, search.ran
    return None


def nothing_left(search):
    """A 0 in every case: too little to tell by which mistake."""
    wrong = [i for i in search.ran if search.tells_apart(i)]
    found = [(vector(search.seen[i] | {"grads": {}}), vector(search.expected[i])) for i in wrong]
    if len(found) < 2 or any(
        a is None or b is None or a.abs().max() > 1e-6 * b.abs().max().clamp(max=1.0)
        for a, b in found
    ):
        return None
    says = (
        "The result is 0 in every case: nothing is added to what it begins with, or what is "
        "subtracted or multiplied takes all of it away."
    )
    return Found("nothing left", says), search.ran


def agrees(search, fn, cases, wrong=1):
    """Whether a mistake does what was seen on these cases, and is wrong on some of them.

    Many mistakes raise something: if all it does wrong is that, it must be the same exception.
    """
    if not all(alike(search.seen[i], search.known(i, fn)) for i in cases):
        return False
    off = [i for i in cases if not alike(search.known(i, fn), search.expected[i])]
    raised = [(search.known(i, fn)["error"], search.seen[i]["error"]) for i in off]
    alone = all(known for known, _ in raised) and not search.only_guards
    return wrong <= len(off) and not (
        alone and any(a["message"] != b["message"] for a, b in raised)
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
    allowed = [c for right in rights[1:] if (c := factor([*of(right)], of(rights[0])))]
    for m in search.exercise.pitfalls:
        for fn in () if m.telltale else m.functions:
            c = factor(given, of(fn))
            if c is not None and (round(c, 3) != -1 or opposed(search)):
                known = [*of(fn)]
                if all(factor(known, of(right)) is None for right in rights):
                    # One number is proven with the factor; of several, some may not matter here.
                    says = m.says if len(m.holes) < 2 else left_open(m).says
                    if round(c, 3) == -1:  # what follows from the mistake alone does not
                        says = f"The sign is reversed. But for that: {says}"
                        return Found(m.name, says, "", fn), search.ran
                    if not any(
                        math.isclose(x, y, rel_tol=1e-3) for x in allowed for y in (c, 1 / c)
                    ):
                        says += f" Besides, it is {c:.4g} times that."
                    return Found(m.name, says, m.why, fn), search.ran
    return None


def opposed(search):
    """Whether what was seen points away from what is right, in every case: its sign is reversed."""
    for i in search.ran:
        a, b = (vector(s[i] | {"grads": {}}) for s in (search.seen, search.expected))
        if a is None or b is None or a.shape != b.shape or (a * b).sum() > 0:
            return False
    return True


def on_another_convention(search):
    """A written mistake in a function that follows another right convention, itself an edit."""
    conventions = search.exercise.accept_edits
    versions = [(m, v) for m, v in edit_versions(search) if not m.holes]  # those are solved later
    if len(conventions) * len(versions) > search.exercise.tries:
        return None
    for convention in conventions:
        for m, version in versions:
            fn = with_convention(search, convention, m, version)
            if fn and search.does(fn) and search.holds(fn):
                return Found(m.name, m.says, m.why, fn), search.ran
    return None


def fitted(search):
    """A mistake with numbers that are solved from what was seen, and said."""
    cases = [i for i in search.ran if search.tells_apart(i)]
    # Huge numbers hide the others, and rounding hides what a small step does.
    cases.sort(key=lambda i: (largest(search.seen[i]) > 1e3, not is_double(search.seen[i]["out"])))
    slow = search.exercise.slow
    open_versions = []
    for m in sorted(search.exercise.pitfalls, key=lambda m: len(m.holes)):
        versions = [v for v in m.versions if isinstance(v, tuple)] if m.holes else []
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
        for found in (one,) if slow else (solved(search, m, version, cases[:MOST]), one):
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
    if any(abs(x) > FAR * abs(m.holes[hole]) for hole, x in zip(m.holes, h, strict=True)):
        return None  # a floor above everything, a limit beyond everything: another mistake
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
            if not m.telltale and any(agrees(search, fn, cases, 2) for fn in m.functions)
        ]
        if len(fit) > 1 and sum(map(search.tells_apart, cases)) < 2:
            continue  # only nan, which has many causes
        if fit:  # of several that look alike in this part, the one that says least is true of all
            least = min(
                fit, key=lambda m: len(m.versions[0]) if isinstance(m.versions[0], tuple) else 1
            )
            least = left_open(least)
            says = least.says
            rest = [i for i in search.failing if i in search.ran and i not in cases]
            if any(contradicts(seen[i], search.known(i, least.wrong)) for i in rest):
                says += (
                    f" That explains “{part}”; elsewhere more is off, or it shows in another way."
                )
            return least if least.near else Found(least.name, says, least.why, least.wrong), cases
    return None


def contradicts(seen, known):
    """Whether a mistake does something else than was seen, by more than rounding and nan where a number was seen."""
    a, b = vector(seen), vector(known)
    if seen["error"] or known["error"] or a is None or b is None or a.shape != b.shape:
        return not alike(seen, known)
    ok = a.isfinite() & b.isfinite()
    bound = 1e-3 * max(1.0, b[ok].abs().max().item()) if ok.any() else 0.0
    return bool(((a - b)[ok].abs() > bound).any() or (b.isfinite() & ~a.isfinite()).any())


def leaves_alone(search, found):
    """Whether a mistake that was found by its results says nothing of inputs or state that were changed."""
    if isinstance(found, Fault) or getattr(found, "telltale", None) or not found.wrong:
        return isinstance(found, Found)
    i = next(i for i, s in enumerate(search.seen) if s["modified"] or s["state"])
    known = search.known(i, found.wrong)
    return not (known["modified"] or known["state"])


def accepted(search, found):
    """A case that should raise ValueError and does not, which the mistake that was found does not explain; or None."""
    if found.name in FACTS:
        return None
    made = None if isinstance(found, Fault) else found.wrong
    for i in search.failing:
        if search.faults[i].name == "no ValueError":
            if not made or not alike(search.seen[i], search.known(i, made)):
                return i
    return None


def all_zero(out):
    return torch.is_tensor(out) and not out.any()
