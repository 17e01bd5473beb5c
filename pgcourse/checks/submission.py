"""A learner's notebook held against the lesson's own: which cell answers what, and what is run for it.

The text of the cells is all that counts. Outputs, tags, edited checks and metadata of a submission decide
nothing; the checks and the given cells come from the source, the solved notebook of the lesson.
"""

from dataclasses import dataclass, replace

from pgcourse.checks.cells import Cell, Unreadable, code_alone, given, plain, stub
from pgcourse.checks.statements import functions


@dataclass(frozen=True)
class Submission:
    """A submission in order: the source's graded cells, each exactly once, and what was added.

    cells   : [(Cell, source cell or None)]; what a cell is for, the source cell says
    notes   : what was repaired, one sentence each
    """

    cells: list
    notes: list

    def steps(self):
        """What is run for the answers, in the order of the notebook: [{"kind", "name", "source"}], and
        {exercise: number of steps before its check}."""
        steps, checks, answers = [], {}, {}
        exercises = {asked(s) for _, s in self.cells if is_check(s)}
        elsewhere = self.answered_elsewhere(exercises)
        for i, (cell, source) in enumerate(self.cells):
            label = source.grade_id if source else ""
            if is_check(source):
                checks[asked(source)] = len(steps)
                continue
            if label in exercises and is_untouched(cell, source):
                if label in elsewhere:
                    continue
                cell = replace(cell, source=stub(source.source))
            if cell.kind == "code" and cell.source.strip():
                here = [label, *(name for name, at in elsewhere.items() if at == i)]
                asks = [name for name in here if name in exercises]
                ours = source is not None and not label
                kind = "answer" if asks else "given" if ours else "own"
                name = (*asks, label or f"cell {len(steps) + 1}")[0]
                steps.append({"kind": kind, "name": name, "source": cell.source})
                answers |= dict.fromkeys(here, len(steps))
        # a check that was moved above its answer comes after it all the same
        return steps, {name: max(n, answers.get(name, 0)) for name, n in checks.items()}

    def answered_elsewhere(self, names):
        """{name: number of a cell} where an answer's own cell is as it was given, and a cell that the
        student added or wrote in defines the function."""
        makers = {
            name: i
            for i, (cell, source) in enumerate(self.cells)
            if cell.kind == "code" and is_students(cell, source)
            for name in functions(cell.source)
        }
        untouched = {s.grade_id for c, s in self.cells if is_untouched(c, s)}
        return {name: i for name, i in makers.items() if name in names & untouched}

    def still_to_mend(self):
        """Names of the functions that were given to be mended and are as they were."""
        left = {s.grade_id for c, s in self.cells if is_untouched(c, s) and s.to_mend and c.source}
        return sorted(left - self.answered_elsewhere(left).keys())

    def is_begun(self):
        """Whether there is anything in it that was not given."""
        return any(
            c.kind == "code" and c.source.strip() and is_students(c, s) for c, s in self.cells
        )


def asked(check):
    return check.grade_id.removeprefix("check_")


def is_untouched(cell, source):
    """Whether an answer's cell is empty, or as it was given: a stub, or a function that is to be mended."""
    if source is None or not source.grade_id or is_check(source):
        return False
    return plain(cell.source) in ("", plain(given(source)))


def is_students(cell, source):
    """Whether a cell is not as it was given: added, or an answer that was written in."""
    return source is None or (
        bool(source.grade_id) and not is_check(source) and not is_untouched(cell, source)
    )


def is_check(source):
    return source is not None and source.graded and source.grade_id.startswith("check_")


def match(cells, source):
    """Hold a submission's cells against those of the source notebook. returns: Submission

    A graded cell is known by its grade_id; failing that by its cell id or, for a solution, by the
    function that it defines. "Split cell" gives every part the label of the whole: all parts are run,
    in the order of the notebook, and the answer is the last one that defines the function. Parts
    without work in them (empty, as released, mere copies) are dropped. What is missing is put
    back, behind the cell that it follows in the source. raises: Unreadable (another lesson's notebook)
    """
    refuse_another_lesson(cells, source)
    notes, missing, unlabeled = [], [], []
    place, copies = {}, set()  # number of a submitted cell: its source cell; numbers of copies
    known = {c.grade_id: c for c in source if c.grade_id}
    defined = [functions(c.source) if c.grade_id not in known else [] for c in cells]
    for name, cell in known.items():
        own = [i for i, c in enumerate(cells) if c.grade_id == name]
        if not own:
            own = [i for i, c in enumerate(cells) if not c.grade_id and c.id and c.id == cell.id]
        if not own and not is_check(cell):
            free = [i for i, c in enumerate(cells) if c.grade_id not in known and i not in place]
            code = [i for i in free if cells[i].kind == "code"]
            own = [i for i in code if defined[i][-1:] == [name]]
            own = own or [i for i in code if name in defined[i]]
            own = own or [i for i in free if name in defined[i]]  # it became text by mistake
            unlabeled += [name] if own else []
        own = [i for i in own if i not in place]
        if not own:
            missing.append(name)
            continue
        if len(own) > 1 and not is_check(cell):
            answer, work = answer_among(own, cells, name, plain(given(cell)))
            copies.update(i for i in own if i != answer and i not in work)
            says = "all parts that are written are run" if work else "the one written in counts"
            notes.append(f"{name} is there {len(own)} times; {says}")
            own = [answer]
        else:
            copies.update(own[:-1])
        place[own[-1]] = cell
    if missing:
        notes.append(f"cells were missing: {', '.join(missing)}")
    if unlabeled:
        notes.append(f"cells had lost their label: {', '.join(unlabeled)}")
    copies |= find_given(cells, source, place)
    cells = in_place(cells, {i: s for i, s in place.items() if i not in copies})
    return Submission(put_back(cells, source), notes)


def find_given(cells, source, place):
    """Give the cells without a label their place. returns: numbers of those that are parts of given cells

    place : {number of a submitted cell: its source cell}; that of the student's own code becomes None
    """
    others = {}
    for cell in source:
        if not cell.grade_id:
            others.setdefault((cell.kind, plain(cell.source)), cell)
    for i, cell in enumerate(cells):
        if i not in place:
            place[i] = others.get((cell.kind, plain(cell.source)))
    changed = [i for i, c in enumerate(cells) if place[i] is None and c.kind == "code"]
    if not changed:
        return set()
    free = [c for c in source if c.kind == "code" and not c.grade_id]
    alone = {code_alone(c.source): c for c in reversed(free)} | {(): None}
    place |= {i: alone.get(code_alone(cells[i].source)) for i in changed}
    # what is left of given cells that were cut in parts or joined: they are put back whole
    there = {id(c) for c in place.values()}
    lost = {x for c in free if id(c) not in there for x in code_alone(c.source)}
    lost |= {x for c in source if c.grade_id and is_check(c) for x in code_alone(c.source)}
    parts = {i: code_alone(cells[i].source) for i in changed if place[i] is None}
    return {i for i, found in parts.items() if found and lost.issuperset(found)}


def refuse_another_lesson(cells, source):
    """raises: Unreadable where these are another lesson's cells, which is called by its name"""
    wanted = {asked(c) for c in source if is_check(c)}
    labels = {c.grade_id.removeprefix("check_") for c in cells}
    if labels & wanted:
        return
    names = labels.union(*(functions(c.source) for c in cells if c.kind == "code"))
    if not wanted or 2 * len(names & wanted) >= len(wanted):
        return
    from pgcourse.checks import LESSONS, lesson_exercises  # all of them: where it is needed

    for lesson in LESSONS:
        theirs = lesson_exercises(lesson).keys()
        if 2 * len(names & theirs - wanted) > len(theirs):
            raise Unreadable(f"it is the notebook of another lesson, {lesson}")


def answer_among(own, cells, name, released):
    """(the answer, the other parts with work in them) of the cells with one label, by their numbers."""
    texts = {i: plain(cells[i].source) for i in own}
    written = [i for i in own if texts[i] not in ("", released)] or own[-1:]
    defining = [i for i in written if name in functions(cells[i].source)]
    answer = (defining or written)[-1]
    return answer, [i for i in written if i != answer and texts[i] != texts[answer]]


def in_place(cells, place):
    """[(cell, source cell)]: a check's text is the source's, and that of given code; a solution is code, whatever it says."""
    result = []
    for i, source in sorted(place.items()):
        cell = cells[i]
        if is_check(source) or source is not None and not source.grade_id and source.kind == "code":
            cell = Cell("code", source.source)
        elif source is not None and source.grade_id:
            cell = Cell(source.kind, cell.source)
        result.append((cell, source))
    return result


def put_back(cells, source):
    """Insert what is missing: graded cells, and given code (which an exercise may need)."""
    there = [id(s) for _, s in cells if s is not None]
    at = 0
    for cell in source:
        if id(cell) in there:
            at = next(i for i, (_, s) in enumerate(cells) if s is cell) + 1
        elif cell.grade_id or cell.kind == "code":
            text = "" if cell.grade_id and not is_check(cell) else cell.source
            cells.insert(at, (Cell(cell.kind, text), cell))
            at += 1
    return cells
