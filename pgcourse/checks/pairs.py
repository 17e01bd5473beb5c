"""Two mistakes at once: pairs of the written ones, under any right convention."""

import contextlib
import itertools

from pgcourse.checks.edits import compiled, fill, left_open
from pgcourse.checks.evidence import Found, same


def edit_versions(search):
    """(mistake, edits) of every mistake that is made of edits, versions one by one."""
    for m in search.exercise.pitfalls:
        if not m.telltale:
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


def with_convention(search, convention, m, version):
    """The function with one mistake on top of a convention, made once; None as `both`."""
    known = search.exercise.cached.setdefault("on a convention", {})
    key = convention, m.name, version
    if key not in known:
        known[key] = both(search, (convention, version), m)
    return known[key]


def two_mistakes(search):
    """Two of the exercise's mistakes at once, under any right convention; on a ladder the first part tells."""
    if search.exercise.ladder:
        return None
    for convention in ((), *search.exercise.accept_edits):
        found = two_on(search, convention)
        if found:
            return found
    return None


def two_on(search, convention):
    """Two mistakes on top of a convention: both are said, in the order of the list; a `why` is true of one alone."""
    passing = sorted(set(search.ran) - set(search.failing), key=lambda i: -search.size(i))[:4]
    failing = one_a_part(search, [i for i in search.ran if i in search.failing])
    candidates = []
    for m, version in edit_versions(search):
        fn = with_convention(search, convention, m, version)
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
            if idle(search, convention, a, first, b, second):
                continue
            says = f"{left_open(a).says} And: {left_open(b).says}"
            return Found(f"{a.name}, and {b.name}", says, wrong=fn), search.ran
    return None


def idle(search, convention, a, first, b, second):
    """Whether one of their edits can be left out without a difference: then it is not proven."""
    fewer = [(first[:k] + first[k + 1 :], second) for k in range(len(first))]
    fewer += [(first, second[:k] + second[k + 1 :]) for k in range(len(second))]
    made = (both(search, (convention, *parts), a, b) for parts in fewer)
    return any(fn and search.does(fn) for fn in made)


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
