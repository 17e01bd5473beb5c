"""What nbgrader's gradebook holds of a class, in a few queries however large the class is."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Lesson:
    """A lesson of the class, as its gradebook has it. when: the due date, else when half had handed in."""

    name: str
    most: float
    when: datetime | None


def graded_cells(book, lesson):
    """{cell: points} of everything that nbgrader gives points for, graded by hand or not."""
    from nbgrader.api import MissingEntry

    try:
        notebooks = book.find_assignment(lesson).notebooks
    except MissingEntry:
        return {}
    cells = (c for notebook in notebooks for c in (*notebook.grade_cells, *notebook.task_cells))
    return {cell.name.removeprefix("check_"): cell.max_score for cell in cells}


def in_the_book(book):
    """{lesson: {student: {score, penalty, late (days), when, scores {cell: points}}}} of nbgrader's gradebook.

    Sums are made here: nbgrader's own (submission.score) look through all grades for each submission.
    """
    from nbgrader.api import Assignment, BaseCell, Grade, SubmittedAssignment, SubmittedNotebook

    found = {}
    for s in book.db.query(SubmittedAssignment):
        late = s.total_seconds_late / 86_400
        entry = {"score": 0.0, "penalty": 0.0, "late": late, "when": s.timestamp, "scores": {}}
        found.setdefault(s.name, {})[s.student_id] = entry
    about = (
        book.db.query(SubmittedNotebook)
        .join(SubmittedNotebook.assignment)
        .join(SubmittedAssignment.assignment)
    )
    whose = (Assignment.name, SubmittedAssignment.student_id)
    for lesson, student, penalty in about.with_entities(
        *whose, SubmittedNotebook.late_submission_penalty
    ):
        found[lesson][student]["penalty"] += penalty or 0.0
    graded = about.join(SubmittedNotebook.grades).join(Grade.cell)
    what = (BaseCell.name, Grade.score, Grade.needs_manual_grade)
    for lesson, student, cell, score, waiting in graded.with_entities(*whose, *what):
        entry = found[lesson][student]
        entry["score"] += score
        entry["scores"][cell.removeprefix("check_")] = None if waiting else score
    return found


def counts(entry):
    """The points that count: after the penalty for being late."""
    return max(0.0, entry["score"] - entry["penalty"])


def over_time(book, books):
    """({student: {lesson: share of its points}}, [Lesson]) of the lessons that are graded, in order."""
    shares, lessons = {}, []
    for assignment in sorted(book.assignments, key=lambda a: a.name):
        entries, most = books.get(assignment.name, {}), assignment.max_score
        if not entries or not most:
            continue
        times = sorted(e["when"] for e in entries.values() if e["when"])
        when = assignment.duedate or (times[len(times) // 2] if times else None)
        lessons.append(Lesson(assignment.name, most, when))
        for student, e in entries.items():
            shares.setdefault(student, {})[assignment.name] = counts(e) / most
    return shares, lessons
