"""What a learning platform hands out, in order: whose file each one is, of which attempt, from when.

    collect(Classroom("my-class"), "05_ppo", "downloads.zip")     copies into submitted/<student>/<lesson>/
    collect(…, look_only=True)                                    only looks

Moodle, Canvas, Blackboard, Brightspace, Google Classroom, Gradescope, Sakai, ILIAS and Teams each have their own way
to write who handed in what; a folder for each student, and names before or after the lesson's, are known too.
(`platforms` reads the names, `archives` the files.)
Nothing is lost without a word: every file is a student's, an older attempt, lies beside one, or is named as unusable.
"""

import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field

from pgcourse.checks import cells
from pgcourse.classroom.archives import opened
from pgcourse.classroom.gradebook import ClassError, write_whole
from pgcourse.classroom.intake import is_notebook_as_script
from pgcourse.classroom.platforms import NOTEBOOKS, VERSION, pattern, read_names, stem_of
from pgcourse.classroom.roster import safe

CLOSED = (".rar", ".7z", ".gz")


@dataclass
class Survey:
    """students: {name: Item}; older: [(name, Item)]; beside: [(name, Item)]; unusable: [(Item, reason)]"""

    students: dict = field(default_factory=dict)
    older: list = field(default_factory=list)
    beside: list = field(default_factory=list)
    unusable: list = field(default_factory=list)
    strangers: list = field(default_factory=list)  # not in the class list
    namesakes: list = field(
        default_factory=list
    )  # told apart by a number that is of this lesson alone
    numbers: dict = field(default_factory=dict)  # {"smith/11": "smith_11"}: for the next lesson

    def __iter__(self):
        return iter(self.students)

    def __len__(self):
        return len(self.students)


def survey(items, unusable, about, lesson, lessons=(), roster=None, numbers=None, students=()):
    """Whose file each one is.

    lessons  : all lessons' names: another lesson's notebook is called so
    roster   : a class list; it settles names
    numbers  : {"smith/11": name}, what the class knows from lessons before
    students : the names that the class has already: jane_doe is its Jane_Doe
    returns  : Survey
    """
    found = Survey(unusable=list(unusable), numbers=dict(numbers or {}))
    read_names(items, lesson, about)
    works, rest = {}, []
    # two that differ by case alone, in the class or here, are two
    cases = Counter(name.casefold() for name in students)
    cases |= Counter(name.casefold() for name in {safe(i.who) for i in items})
    spelled = {x.casefold(): x for x in students if cases[x.casefold()] == 1}
    listed = {roster.find(i.who, i.number) for i in items} if roster else set()
    people = Counter(who for who, _ in {(safe(i.who).casefold(), i.number) for i in items})
    for item in items:
        reason = unfit(item, lesson, lessons)
        name = name_in_class(item, people, roster, listed, found) if item.who else ""
        if not (roster and name in roster.ids):
            name = spelled.get(name.casefold(), name)
        if not name and not reason:
            found.unusable.append((item, "no student's name in the file's name"))
        elif reason:
            rest.append((name, item, reason))
        else:
            works.setdefault(name, []).append(item)
    for name, attempts in sorted(works.items()):
        attempts.sort(key=lambda i: rank(i, lesson))
        found.students[name] = attempts.pop()
        for item in attempts:
            paired = is_script(item) and not is_script(found.students[name])
            (found.beside if paired else found.older).append((name, item))
    for name, item, reason in rest:
        if name in found.students:
            found.beside.append((name, item))
        elif item.inside.name.lower() in THEIRS:
            found.beside.append(("", item))
        else:
            found.unusable.append((item, reason))
    if roster:
        found.strangers = sorted(set(found.students) - set(roster.ids))
    return found


# of platforms, of Windows
THEIRS = {"index.html", "submission_metadata.yml", "timestamp.txt", "grades.csv", "grades.xls"}
THEIRS |= {"thumbs.db", "desktop.ini"}


def unfit(item, lesson, lessons):
    """Why a file is not the lesson's notebook, or ""."""
    name = item.inside.name
    if item.path.is_symlink() or not item.path.is_file():
        return "not a regular file"
    if name.lower().endswith(CLOSED):
        return "an archive of a kind that is not opened here; unpack it, or ask for a .zip"
    if not name.lower().endswith(NOTEBOOKS) and not is_notebook_as_script(item.path):
        return "no notebook"
    mine = pattern(lesson).search(name)
    other = next((x for x in lessons if x != lesson and not mine and pattern(x).search(name)), "")
    return f"the notebook of another lesson, {other}" if other else ""


def rank(item, lesson):
    """Of several files of a student: the lesson's own, then the latest attempt, then the newest."""
    versions = [int(m[1]) for part in item.inside.parts if (m := VERSION.fullmatch(part))]
    again = re.search(r"(?:-| \()(\d+)\)?$", stem_of(item.inside.name))
    stamp = item.when.timestamp() if item.when else 0.0
    mine = (
        bool(pattern(lesson).search(item.inside.name))
        and "working files" not in str(item.inside).casefold()
    )
    return (mine, not is_script(item), stamp, max(versions, default=0), int(again[1]) if again else 0,
            item.path.stat().st_mtime, item.inside.name)  # fmt: skip


def is_script(item):
    return item.inside.suffix.lower() == ".py"


def name_in_class(item, people, roster, listed, found):
    """The one name that a student has in the class: the list's; else the platform's, with its number for namesakes.

    listed : those whom the list knows by what the platform wrote as it is
    """
    if roster and (identity := roster.find(item.who, item.number)):
        return identity
    if roster and (identity := roster.find(*item.others)) not in listed | {""}:
        return identity
    name = safe(item.who) or (f"student_{item.number}" if item.number else "")
    known = f"{name}/{item.number}"
    if item.lasts and known in found.numbers:
        return found.numbers[known]
    others = (k for k in found.numbers if k != known)
    namesake = people[name.casefold()] > 1
    if item.lasts:
        namesake = namesake or any(k.rpartition("/")[0] == name for k in others)
    chosen = f"{name}_{item.number}" if item.number and namesake else name
    if item.lasts:
        found.numbers[known] = chosen
    elif chosen != name and chosen not in found.namesakes:
        found.namesakes.append(chosen)
    return chosen


def collect(room, lesson, source, roster=None, look_only=False):
    """Read a download and, unless one only looks, copy each student's notebook into submitted/.

    room    : Classroom
    returns : Survey
    raises  : ClassError if there is no notebook at all
    """
    memory = room.root / ".pgcourse" / "names.json"
    known = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    lessons = [path.name for path in (room.root / "source").glob("*")]
    with opened(source) as (items, unusable, about):
        found = survey(
            items, unusable, about, lesson, lessons, roster, known, set(room.students("*"))
        )
        if not found.students and not found.unusable:
            raise ClassError(f"{source} holds no notebook.")
        if not look_only:
            for name, item in found.students.items():
                target = room.submitted(name, lesson)
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(item.path, target / f"{lesson}.ipynb")
                stamp = target / "timestamp.txt"
                stamp.unlink(missing_ok=True)
                if item.when:
                    stamp.write_text(stamp_of(item), encoding="utf-8")
            remember(room, found)
    return found


def remember(room, found):
    """Keep the names of this lesson's students for the next lesson."""
    names = json.dumps(found.numbers, indent=1, ensure_ascii=False)
    write_whole(room.root / ".pgcourse" / "names.json", names)


def stamp_of(item):
    """When it was handed in, as nbgrader's timestamp.txt has it."""
    return f"{item.when:%Y-%m-%d %H:%M:%S %z}"


def table(found):
    """A Survey as a rich Table: every file of the download, and what became of it."""
    from rich.markup import escape
    from rich.table import Table

    result = Table(title="What was found")
    for column in ("student", "file", "handed in", ""):
        result.add_column(column, overflow="fold")

    def row(name, item, says):
        when = (
            f"{item.when:%Y-%m-%d %H:%M}"
            if item.when
            else "late, time unknown"
            if item.late
            else "–"
        )
        result.add_row(escape(name), escape(cells.clean(str(item.inside))), when, escape(says))

    for name, item in found.students.items():
        says = ["not in the class list"] if name in found.strangers else []
        if name in found.namesakes:
            says.append("one of several of this name; the number is of this download alone")
        row(name, item, "; ".join(says))
    for name, item in found.older:
        row(name, item, "older attempt")
    for name, item in found.beside:
        row(name, item, "beside")
    for item, reason in found.unusable:
        row("?", item, f"unusable: {reason}")
    counts = f"{len(found.students)} students, {len(found.older)} older attempts, "
    counts += f"{len(found.beside)} files beside, {len(found.unusable)} unusable"
    untold = sum(item.when is None for item in found.students.values())
    result.caption = f"{counts}. No time is known of {untold}." if untold else f"{counts}."
    return result
