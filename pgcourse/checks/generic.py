"""Mistakes that nobody wrote down: one edit of the reference, or one on top of a written mistake."""

import ast
import re
from collections import Counter

from pgcourse.checks.edits import edited_text, fill, left_open, run_text, text_of
from pgcourse.checks.evidence import Found
from pgcourse.checks.pairs import edit_versions

ON_TOP = {  # kinds that say something beside a written mistake
    "sign", "one function for another", "another operation", "operands swapped", "axis",
    "detach dropped", "a term or factor left out", "a call left out", "a choice left out", "inverted",
    "one more or less", "a comparison", "a factor twice", "bounds",
}  # fmt: skip


NAMES = {  # of kinds that are wider than they are called
    "axis": "an axis or a keyword",
    "a bracket too few": "a factor on a part of a sum",
    "a bracket too many": "a factor on all of a sum",
}
SOMEWHERE = re.compile(
    r"(,? (in front of|in|on|of|at|over|to)|:) an intermediate result(?=[.,]| is)"
)


def name_of(edit):
    return NAMES.get(edit.kind, edit.kind)


def sentence(edit):
    """What it says to a learner; "" if it needs a place in their text, and names none that they know."""
    from pgcourse.checks.operators.trees import called
    from pgcourse.checks.operators.values import REDUCE

    if edit.kind == "a call too many" and called(edit.old) in REDUCE & {called(edit.new)}:
        return f"`{called(edit.old)}` goes over more than it should: one number is left, where several belong."
    says = SOMEWHERE.sub("", edit.says)
    if "an intermediate result" in says and "gradient" not in says.lower():
        return ""
    if says == edit.says:
        return says
    if edit.kind in ("inverted", "a selection left out", "a choice left out"):
        return ""
    if edit.kind in ("another operation", "one function for another") and " sign " not in says:
        return f"{says[:-1]} where another operation belongs."
    return says


def generic(search):
    """One edit of the reference that nobody wrote down; its sentence comes with the operator."""
    return one_of(search, generic_edits(search.exercise))


def one_of(search, candidates):
    for fn, e in candidates:
        if search.does(fn) and search.holds(fn) and sentence(e):
            return Found(name_of(e), sentence(e), "", fn), search.ran
    return None


def tree_of(exercise):
    from pgcourse.checks.operators.trees import function_tree

    text = text_of(exercise.reference)
    return function_tree(text.head + text.body)


def generic_edits(exercise):
    """(function, Edit) for each generic edit of the reference that compiles, kept with the exercise."""
    from pgcourse.checks.operators import edits

    if "generic" not in exercise.cached:
        every = [*edits(tree_of(exercise))]
        often = Counter(e.kind for e in every)  # an edit that fits everywhere explains little,
        every.sort(key=lambda e: (e.kind == "a constant", often[e.kind]))  # a number less
        few, exercise.cached["rest"] = every[: exercise.tries], every[exercise.tries :]
        exercise.cached["generic"] = [
            (fn, e) for e in few if (fn := runs(exercise.reference, e.tree)) is not None
        ]
    return exercise.cached["generic"]


def further(search):
    """The edits that are many; another form of an argument or of the result, other rounds of a loop."""
    from pgcourse.checks.forms import forms

    exercise = search.exercise
    if exercise.slow:
        return None
    if "forms" not in exercise.cached:
        generic_edits(exercise)
        exercise.cached["forms"] = [*exercise.cached["rest"], *forms(tree_of(exercise))]
    made = ((runs(exercise.reference, e.tree), e) for e in exercise.cached["forms"])
    return one_of(search, ((fn, e) for fn, e in made if fn is not None))


def on_top(search):
    """One generic edit of the text with a written mistake in it."""
    if search.exercise.slow:
        return None
    for (fn, e), m in edits_on_top(search):
        if search.does(fn) and search.holds(fn) and sentence(e):
            says = f"{left_open(m).says} And: {sentence(e)}"
            return Found(f"{m.name}, and {name_of(e)}", says, wrong=fn), search.ran
    return None


def edits_on_top(search):
    from pgcourse.checks.operators import edits
    from pgcourse.checks.operators.trees import function_tree

    reference = search.exercise.reference
    for m, version in edit_versions(search):
        if any(e.of or e.use for e in version):
            continue
        try:
            text = edited_text(reference, [fill(e, m.holes) for e in version], documented=False)
            tree = function_tree(text)
        except (ValueError, SyntaxError):
            continue
        for e in edits(tree, kinds=ON_TOP):
            fn = runs(reference, e.tree)
            if fn is not None:
                yield (fn, e), m


def runs(reference, tree):
    try:
        return run_text(ast.Module([tree], []), reference)
    except (SyntaxError, ValueError, NameError, TypeError):
        return None
