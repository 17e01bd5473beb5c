"""One row, column or number for all: shapes that broadcast in silence, for every function that refuses shapes that differ.

A guard may forget an argument, or one way to differ: by the number of axes, by the first or the last one.
"""

from dataclasses import replace

import torch

from pgcourse.checks import drivers
from pgcourse.checks.core import Case
from pgcourse.checks.guards import refused

TABLE = {
    "one row of {} for all": lambda x: x[:1],
    "one column of {} for all": lambda x: x[:, :1],
}
LINE = {
    "one {} for all": lambda x: x[:1],
    "{} as a column": lambda x: x.unsqueeze(1),
    "{} as a row": lambda x: x.unsqueeze(0),
}


def with_other_shapes(exercise):
    """The exercise with such a case for each of its arrays, where its function raises ValueError for that."""
    part = next((case.part for case in exercise.cases if case.raises), None)
    if part is None or exercise.driver not in drivers.PLAIN:
        return exercise
    base = max((case for case in exercise.cases if not case.raises), key=axes)
    known, more, turn = {case.name for case in exercise.cases}, [], 0
    for name, x in arrays(base).items() if len(arrays(base)) > 1 else ():
        ways = TABLE if x.dim() > 1 else LINE
        labels = [*ways] if turn == 0 else [[*ways][turn % len(ways)]]  # every way, and every array
        cases = [
            Case(label.format(name), changed(base, name, ways[label]), part, raises=True)
            for label in labels
        ]
        cases = [c for c in cases if refused(exercise.reference, some(c), exercise.seconds)]
        more += [case for case in cases if case.name not in known]
        turn += bool(cases)
    return replace(exercise, cases=[*exercise.cases, *more])


def some(case):
    """Inputs of a case."""
    return case.inputs(torch.Generator().manual_seed(0))


def arrays(case):
    """The tensors of more than one row (and column) among a case's arguments, tables before columns."""
    args = some(case).items()
    found = [(name, x) for name, x in args if torch.is_tensor(x) and x.dim() and min(x.shape) > 1]
    return dict(sorted(found, key=lambda pair: -pair[1].dim()))


def axes(case):
    """How many arrays, and with how many axes."""
    found = arrays(case).values()
    return len(found), sum(x.dim() for x in found)


def changed(case, name, change):
    def inputs(g):
        args = case.inputs(g)
        return {**args, name: change(args[name])}

    return inputs
