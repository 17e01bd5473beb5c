"""Whose a file of a download is, and from when: what learning platforms write into names and beside them."""

import contextlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from pgcourse.classroom.roster import composed


@dataclass
class Item:
    """A file of the download.

    path   : where it lies now; inside: its name in the download
    who    : the student's name as the platform writes it, ""; others: what else it may be, if a class list knows that
    number : the platform's number for them
    lasts  : whether that number is the same in every assignment
    when   : when it was handed in, or None; late: the platform says so
    """

    path: Path
    inside: PurePosixPath
    who: str = ""
    others: list = field(default_factory=list)
    number: str = ""
    lasts: bool = False
    when: datetime | None = None
    late: bool = False


BLACKBOARD = re.compile(r"(?P<before>.+)_attempt_(?P<when>\d{4}(?:-\d\d){5})(?:_.*)?")
MOODLE = re.compile(r"(?P<who>.+?)_(?P<number>\d+)_assignsubmission_(?P<kind>[a-z]+)_?.*")
BRIGHTSPACE = re.compile(
    r"(?P<number>\d+-\d+) - (?P<who>.+?) - (?P<when>[^-]*\d{4},? \d{3,4}(?: [AP]M)?)(?: - .*)?"
)
CANVAS = re.compile(r"(?P<who>[^_]+)(?P<late>_LATE)?_(?P<number>\d+)_(?:\d+_)?.*", re.I)
SAKAI = re.compile(r"(?P<full>[^,()]+,[^()]+)\((?P<who>[^()]+)\)")
ILIAS = re.compile(r"[^_]+_[^_]+_(?P<who>[^_]+)_(?P<number>\d+)")
STAMP = re.compile(r"(\d{14})(?:\d{3})?(?:_.*)?")
GRADESCOPE = re.compile(r"submission_(\d+)")
VERSION = re.compile(r"Version (\d+)", re.I)
EXCHANGE = re.compile(  # nbgrader's own: ada+05_ppo+2024-01-30 20:30:10.123456 UTC+x
    r"(?P<who>[^+]+)\+[^+]+\+(?P<when>\d{4}-\d\d-\d\d[ _]\d\d[:_]\d\d[:_]\d\d)[^+]*(?:\+.*)?"
)
IN_PARTS = re.compile(r"drive-download-\w+-\d+")  # Google Drive's archives of one folder
TIMES = ("%Y-%m-%d-%H-%M-%S", "%Y%m%d%H%M%S")
TIMES += tuple(  # Brightspace's, in several of its languages' orders
    f"{day} %Y {time}"
    for day in ("%b %d", "%B %d", "%d %b", "%d %B")
    for time in ("%I%M %p", "%H%M")
)


def time_of(text):
    text = re.sub(r"[.,]", "", text).replace("Sept ", "Sep ")
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
                # with groups it is "Group A-Jane Doe", and a name may have hyphens, too
                item.others = [item.who[i + 1 :] for i, c in enumerate(item.who) if c == "-"]
            elif m := BRIGHTSPACE.fullmatch(part):
                item.who, item.number, item.when = m["who"], m["number"], time_of(m["when"])
            elif folder and (m := EXCHANGE.fullmatch(part)):
                day, clock = m["when"][:10], re.sub(r"\D", ":", m["when"][11:])
                item.who, item.when = m["who"], datetime.fromisoformat(f"{day}T{clock}+00:00")
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
        # GitHub Classroom names a repository after the lesson and the student
        item.who = rest[0][m.end() :] if (m := begins_with(lesson, rest[0])) else rest[0]
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


def begins_with(lesson, name):
    return re.match(rf"{pattern(lesson).pattern}[ _-]+(?=.)", name, re.I)


def common_words(lists):
    """How many words at the start all lists share (one is always left)."""
    n = 0
    while lists and all(len(words) > n + 1 and words[n] == lists[0][n] for words in lists):
        n += 1
    return n


PLATFORMS = (BLACKBOARD, MOODLE, BRIGHTSPACE, SAKAI, GRADESCOPE, ILIAS, EXCHANGE)


def wrappers(items, lesson):
    """How many folders are around the whole download, or around groups of students."""
    works = [i for i in items if i.inside.name.lower().endswith(NOTEBOOKS)] or items
    n = 0
    while works and all(len(i.inside.parts) > n + 1 for i in works):
        heads = {parts(i)[n] for i in works}
        if any(p.fullmatch(h) for p in PLATFORMS for h in heads):
            break
        alone = len(heads) == 1 and all(named(parts(i)[n + 1 :], lesson) for i in works)
        in_parts = all(IN_PARTS.fullmatch(head) for head in heads)
        if not alone and not in_parts and not groups(works, n, lesson):
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
