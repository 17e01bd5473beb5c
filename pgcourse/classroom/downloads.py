"""What a learning platform hands out, in order: whose file each one is, of which attempt, from when.

    found = survey("downloads.zip", "05_ppo", roster=None)      looks only
    keep(found, classroom, "05_ppo")                            copies into submitted/<student>/<lesson>/

Moodle, Canvas, Blackboard, Brightspace, Google Classroom, Gradescope, Sakai, ILIAS and Teams each have their own way
to write who handed in what; a folder for each student, and names before or after the lesson's, are known too.
Nothing is lost without a word: every file is a student's, an older attempt, lies beside one, or is named as unusable.
"""

import contextlib
import json
import re
import shutil
import tarfile
import tempfile
import unicodedata
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from pgcourse.checks import cells
from pgcourse.classroom import intake
from pgcourse.classroom.gradebook import ClassError, write_whole
from pgcourse.classroom.roster import composed, safe

MOST_FILES, MOST_BYTES, MOST_DEPTH = 100_000, 4 * 2**30, 3  # in all archives; archives in archives
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
CLOSED = (".rar", ".7z", ".gz")


@dataclass
class Item:
    """A file of the download.

    path   : where it lies now; inside: its name in the download
    who    : the student's name as the platform writes it, ""; number: the platform's number for them
    lasts  : whether that number is the same in every assignment
    when   : when it was handed in, or None; late: the platform says so
    """

    path: Path
    inside: PurePosixPath
    who: str = ""
    number: str = ""
    lasts: bool = False
    when: datetime | None = None
    late: bool = False


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


# ------------------------------------------------------------------------------- who, and when

BLACKBOARD = re.compile(r"(?P<before>.+)_attempt_(?P<when>\d{4}(?:-\d\d){5})(?:_.*)?")
MOODLE = re.compile(r"(?P<who>.+?)_(?P<number>\d+)_assignsubmission_(?P<kind>[a-z]+)_?.*")
BRIGHTSPACE = re.compile(
    r"(?P<number>\d+-\d+) - (?P<who>.+?) - (?P<when>[A-Z][a-z]{2} \d{1,2}, \d{4} \d{3,4} [AP]M)(?: - .*)?"
)
CANVAS = re.compile(r"(?P<who>[^_]+)(?P<late>_LATE)?_(?P<number>\d+)_(?:\d+_)?.*", re.I)
SAKAI = re.compile(r"(?P<full>[^,()]+,[^()]+)\((?P<who>[^()]+)\)")
ILIAS = re.compile(r"[^_]+_[^_]+_(?P<who>[^_]+)_(?P<number>\d+)")
STAMP = re.compile(r"(\d{14})(?:\d{3})?(?:_.*)?")
GRADESCOPE = re.compile(r"submission_(\d+)")
VERSION = re.compile(r"Version (\d+)", re.I)
TIMES = ("%Y-%m-%d-%H-%M-%S", "%b %d, %Y %I%M %p", "%Y%m%d%H%M%S")


def time_of(text):
    for form in TIMES:
        with contextlib.suppress(ValueError):
            return datetime.strptime(
                text, form
            ).astimezone()  # the platform's own clock: taken as ours
    return None


def read_names(items, lesson, about):
    """Fill in who and when. `about`: what Gradescope's metadata say of each submission."""
    boards = [m for i in items for p in parts(i) if (m := BLACKBOARD.fullmatch(p))]
    title = common_words([m["before"].split("_") for m in boards])
    wrapped = wrappers(items, lesson)
    for item in items:
        for place, part in enumerate(parts(item)):
            folder = place < len(item.inside.parts) - 1
            if m := BLACKBOARD.fullmatch(part):
                words = m["before"].split("_")
                item.who = "_".join(words[title:] if len(boards) > 1 else words[-1:])
                item.when = time_of(m["when"])
            elif m := MOODLE.fullmatch(part):
                item.who, item.number = m["who"], m["number"]
            elif m := BRIGHTSPACE.fullmatch(part):
                item.who, item.number, item.when = m["who"], m["number"], time_of(m["when"])
            elif folder and (m := SAKAI.fullmatch(part)):
                item.who = m["who"]
            elif folder and (m := GRADESCOPE.fullmatch(part)):
                item.who, item.number, item.when = about.get(part, (f"submission_{m[1]}", "", None))
            elif folder and ILIAS.fullmatch(part) and STAMP.fullmatch(item.inside.stem):
                item.who = ILIAS.fullmatch(part)["who"]
            else:
                continue
            break
        if not item.who:
            read_plain_name(item, parts(item)[wrapped:], lesson)
        if item.when is None and (m := STAMP.fullmatch(item.inside.stem)):
            item.when = time_of(m[1])
        if item.when is None:
            item.when = stamp_beside(item)


def parts(item):
    """The folders of a file's name, and the name without its ending, as they are meant to be read."""
    return [readable(part) for part in (*item.inside.parts[:-1], stem_of(item.inside.name))]


def readable(text):
    text = unquote(text) if re.search("%[0-9A-Fa-f]{2}", text) else text
    return "".join(c if c.isprintable() else " " for c in composed(text))


NOTEBOOKS = (".ipynb.json", ".ipynb.txt", ".ipynb", ".json")  # the first two as browsers save them


def stem_of(name):
    ending = next((e for e in NOTEBOOKS if name.lower().endswith(e)), PurePosixPath(name).suffix)
    return name[: len(name) - len(ending)]


def pattern(lesson):
    """What a lesson's name looks like in the name of a file: 05_ppo, 05-PPO, "05 ppo"."""
    return re.compile("[ _-]*".join(map(re.escape, lesson.split("_"))), re.I)


def read_plain_name(item, rest, lesson):
    """A folder's name, Teams' or Canvas's way, or what stands before or after the lesson's name."""
    lowered = [part.casefold() for part in rest[:-1]]
    for word in ("submitted files", "working files"):
        if word in lowered and lowered.index(word) + 1 < len(rest) - 1:
            item.who = rest[lowered.index(word) + 1]
            return
    if len(rest) > 1:
        item.who = rest[0]
        if m := re.fullmatch(r"(.+?)_LATE", rest[0], re.I):
            item.who, item.late = m[1], True
        return
    # a second download, Canvas's second try
    stem, title = re.sub(r"( ?\(\d+\)|-\d+)$", "", rest[0]), pattern(lesson)
    if " - " in stem and title.search(stem):  # Google Classroom
        names = [part.strip() for part in stem.split(" - ") if not title.search(part)]
        item.who = names[0] if names else ""
        return
    before, after = [*title.split(stem, maxsplit=1), ""][:2]
    if (m := CANVAS.fullmatch(stem)) and m.end("number") <= len(before):
        item.who, item.number, item.lasts = m["who"], m["number"], True
        item.late = bool(m["late"])
        return
    m = re.match(r"(.*?)(_LATE)?$", before.strip("_- "), re.I)
    item.who, item.late = m[1] or after.strip("_- "), bool(m[2])


def common_words(lists):
    """How many words at the start all lists share (one is always left)."""
    n = 0
    while lists and all(len(words) > n + 1 and words[n] == lists[0][n] for words in lists):
        n += 1
    return n


PLATFORMS = (BLACKBOARD, MOODLE, BRIGHTSPACE, SAKAI, GRADESCOPE, ILIAS)


def wrappers(items, lesson):
    """How many folders are around the whole download, or around groups of students."""
    works = [i for i in items if i.inside.name.lower().endswith(NOTEBOOKS)] or items
    n = 0
    while works and all(len(i.inside.parts) > n + 1 for i in works):
        heads = {parts(i)[n] for i in works}
        if any(p.fullmatch(h) for p in PLATFORMS for h in heads):
            break
        alone = len(heads) == 1 and all(named(parts(i)[n + 1 :], lesson) for i in works)
        if not alone and not groups(works, n, lesson):
            break
        n += 1
    return n


def named(rest, lesson):
    """Whether what is left of a path still says whose it is."""
    trial = Item(Path(), PurePosixPath(*rest))
    read_plain_name(trial, rest, lesson)
    return bool(trial.who)


def groups(works, n, lesson):
    """Whether the folders here are sections of a class: each with lesson files in several folders, none directly."""
    inside = {}
    for item in works:
        rest = parts(item)[n:]
        inside.setdefault(rest[0], []).append(rest)
    title = pattern(lesson)
    return all(
        len({r[1] for r in rests if len(r) > 2 and title.search(r[-1])}) > 1
        and all(len(r) > 2 for r in rests)
        for rests in inside.values()
    )


def stamp_beside(item):
    """Sakai's timestamp.txt, in the student's folder."""
    for folder in list(item.path.parents)[:2]:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            m = STAMP.fullmatch((folder / "timestamp.txt").read_text(encoding="utf-8").strip())
            if m:
                return time_of(m[1])
    return None


def gradescope(folder):
    """{"submission_123": (who, number, when)} of Gradescope's submission_metadata.yml files."""
    found = {}
    for path in folder.rglob("submission_metadata.y*ml"):
        import yaml

        with contextlib.suppress(OSError, yaml.YAMLError, AttributeError):
            for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items():
                person = (entry.get(":submitters") or entry.get("submitters") or [{}])[0]
                person = {str(k).strip(":"): str(v) for k, v in person.items()}
                who = person.get("email", "").split("@")[0] or person.get("name", "")
                when = entry.get(":created_at") or entry.get("created_at")
                when = when if isinstance(when, datetime) else None
                found[name] = (who or name, person.get("sid", ""), when and when.astimezone())
    return found


# ------------------------------------------------------------------------------- the files


@contextlib.contextmanager
def opened(source):
    """([Item], [(Item, reason)], {Gradescope's metadata}) of a folder or an archive, archives in it opened."""
    source = Path(source)
    if not source.exists():
        raise ClassError(f"{source} is not there.")
    with tempfile.TemporaryDirectory(prefix="pgcourse-") as scratch:
        unusable, room, used = [], Path(scratch), [0, 0]
        if source.is_dir():
            items = walk(source, PurePosixPath())
        else:
            if not source.name.lower().endswith(ARCHIVES):
                raise ClassError(f"{source} is no folder, and no archive that can be opened.")
            items = unpack(Item(source, PurePosixPath()), room / "0", used, unusable)
        for depth in range(1, MOST_DEPTH + 1):
            closed = [i for i in items if i.inside.name.lower().endswith(ARCHIVES)]
            if not closed:
                break
            items = [i for i in items if i not in closed]
            for n, item in enumerate(closed):
                if depth == MOST_DEPTH:
                    unusable.append((item, "an archive in an archive in an archive"))
                else:
                    items += unpack(item, room / f"{depth}-{n}", used, unusable)
        yield items, unusable, gradescope(source if source.is_dir() else room)


def walk(folder, inside):
    return [
        Item(path, inside / PurePosixPath(path.relative_to(folder).as_posix()))
        for path in sorted(folder.rglob("*"))
        if intake.is_work(path.relative_to(folder)) and (path.is_symlink() or not path.is_dir())
    ]


def unpack(item, target, used, unusable):
    """The files of an archive, each under the archive's name without its ending."""
    ending = next(e for e in ARCHIVES if item.path.name.lower().endswith(e))
    inside = (
        item.inside.with_name(item.inside.name[: -len(ending)]) if item.inside.name else item.inside
    )
    found = []
    try:
        for name, size, read in members(item.path):
            place = PurePosixPath(name.replace("\\", "/"))
            trap = place.is_absolute() or ".." in place.parts or re.match("[A-Za-z]:", name)
            if not trap and not intake.is_work(place):
                continue
            used[0], used[1] = used[0] + 1, used[1] + size
            if used[0] > MOST_FILES or used[1] > MOST_BYTES:
                raise ValueError("it unpacks to too much")
            if trap or size > cells.MOST_BYTES:
                unusable.append(
                    (Item(item.path, inside / place.name), "not taken out of its archive")
                )
                continue
            path = target / str(used[0]) / place.name
            path.parent.mkdir(parents=True)
            with read() as stream, open(path, "wb") as file:
                shutil.copyfileobj(stream, file)
            found.append(Item(path, inside / place))
    except (OSError, ValueError, RuntimeError, NotImplementedError, EOFError) as error:
        unusable.append((item, f"the archive cannot be opened: {error}"))
    except (zipfile.BadZipFile, tarfile.TarError, zipfile.LargeZipFile) as error:
        unusable.append((item, f"the archive is damaged: {error}"))
    return found


def members(path):
    """(name, bytes, function that opens it) of each regular file of an archive."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for info, name in names_in(archive).items():
                if not info.is_dir() and (info.external_attr >> 28) != 0xA:  # no link
                    yield name, info.file_size, lambda info=info: archive.open(info)
    else:
        with tarfile.open(path) as archive:
            for info in archive:
                if info.isreg():
                    yield info.name, info.size, lambda info=info: archive.extractfile(info)


UTF_8_FLAG = 0x800


def names_in(archive):
    """{member: name} of a ZIP archive. Names that do not say UTF-8 may be that all the same (macOS), or in a code page
    of DOS or of Windows, for which zipfile takes them all: the one that makes them look most like names is believed."""
    infos = archive.infolist()
    plain = [i for i in infos if not i.flag_bits & UTF_8_FLAG and not i.filename.isascii()]
    read, data = {}, "\n".join(i.filename for i in plain).encode("cp437")
    for code in ("utf-8", "cp437", "cp850", "cp1252"):
        with contextlib.suppress(UnicodeDecodeError):
            read[code] = data.decode(code)
    code = "utf-8" if "utf-8" in read else min(read, key=lambda code: oddities(read[code]))
    names = read[code].split("\n")
    return {i: i.filename for i in infos} | dict(zip(plain, names, strict=False))


def oddities(text):
    """How little a text looks like names: letters that are not Latin, other signs, capitals inside of words."""
    strange = sum(not c.isascii() and "LATIN" not in unicodedata.name(c, "") for c in text)
    return strange + len(re.findall(r"(?<=[^\W\d_])[^\W\d_a-zß-ÿ]", text))


# ------------------------------------------------------------------------------- in order


def survey(items, unusable, about, lesson, lessons=(), roster=None, numbers=None):
    """Whose file each one is.

    lessons : all lessons' names: another lesson's notebook is called so
    roster  : a class list; it settles names
    numbers : {"smith/11": name}, what the class knows from lessons before
    returns : Survey
    """
    found = Survey(unusable=list(unusable), numbers=dict(numbers or {}))
    read_names(items, lesson, about)
    works, rest = {}, []
    people = Counter(who for who, _ in {(safe(i.who).casefold(), i.number) for i in items})
    for item in items:
        reason = unfit(item, lesson, lessons)
        name = name_in_class(item, people, roster, found) if item.who else ""
        if not name and not reason:
            found.unusable.append((item, "no student's name in the file's name"))
        elif reason:
            rest.append((name, item, reason))
        else:
            works.setdefault(name, []).append(item)
    for name, attempts in sorted(works.items()):
        attempts.sort(key=lambda i: rank(i, lesson))
        found.students[name] = attempts.pop()
        found.older += [(name, item) for item in attempts]
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
    if not name.lower().endswith(NOTEBOOKS):
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
    return (mine, stamp, max(versions, default=0), int(again[1]) if again else 0,
            item.path.stat().st_mtime, item.inside.name)  # fmt: skip


def name_in_class(item, people, roster, found):
    """The one name that a student has in the class: the list's; else the platform's, with its number for namesakes."""
    if roster and (identity := roster.find(item.who, item.number)):
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
        found = survey(items, unusable, about, lesson, lessons, roster, known)
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
