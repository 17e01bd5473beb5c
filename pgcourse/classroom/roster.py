"""A class list as a learning platform exports it (CSV): who is meant by a name, and grades in its own form."""

import csv
import io
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from pgcourse.checks.cells import shown
from pgcourse.classroom.gradebook import ClassError

# columns by what they hold, in the platforms' own words; of several the first one counts
COLUMNS = {
    "id": (
        "username", "user name", "login", "login id", "sis login id", "student_id", "student id",
        "orgdefinedid", "sid", "user id", "netid", "id", "anmeldename", "benutzername",
        "matrikelnummer", "nom d’utilisateur", "nombre de usuario", "nome utente",
    ),
    "first": ("first name", "first_name", "firstname", "given name", "vorname", "prénom", "nombre", "nome"),
    "last": (
        "last name", "last_name", "lastname", "surname", "family name", "nachname", "nom", "apellido(s)",
        "apellidos", "cognome",
    ),
    "name": ("full name", "name", "student", "student name", "vollständiger name", "nom complet", "nombre completo"),
    "email": (
        "email address", "email", "e-mail", "mail", "e-mail-adresse", "adresse de courriel",
        "dirección de correo",
    ),
}  # fmt: skip
NUMBERS = ("id", "sis user id", "user id", "orgdefinedid", "id number", "identifier", "sid")


def key(text):
    """A name without what platforms change: case, accents, spaces, punctuation."""
    plain = unicodedata.normalize("NFKD", str(text)).casefold()
    return "".join(c for c in plain if c.isalnum())


@dataclass
class Roster:
    """The rows of a class list.

    header, rows : as in the file; each row a dict
    ids          : the class's name of each row's student
    known        : {key of anything that means one student: that student's id}
    """

    header: list
    rows: list
    ids: list = field(default_factory=list)
    known: dict = field(default_factory=dict)

    def find(self, *texts):
        """The id of the student that one of the texts means, or "". A spreadsheet drops zeros in front."""
        keys = [k for t in texts if t for k in (key(t), key(t).lstrip("0"))]
        return next((self.known[k] for k in keys if k in self.known), "")


def read(path):
    """Read a class list. raises: ClassError (no file, no names)"""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ClassError(f"The class list {path} cannot be read: {error.strerror}.") from None
    text = decode(data)
    delimiter = max(",;\t", key=text.split("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    header = [name for name in reader.fieldnames or [] if name is not None]
    rows = [{k: (v or "").strip() for k, v in row.items() if k in header} for row in reader]
    names = {h.strip().casefold(): h for h in header}
    column = {
        what: next((names[word] for word in words if word in names), None)
        for what, words in COLUMNS.items()
    }
    if not rows or not (column["id"] or column["name"] or column["email"] or column["last"]):
        known = ", ".join(word for words in COLUMNS.values() for word in words[:2])
        raise ClassError(
            f"{path} is no class list: expected a CSV file with a heading and columns such as {known}; "
            f"got {', '.join(header) or 'nothing'}."
        )
    roster, means = Roster(header, rows), {}
    for row in rows:
        value = {what: row.get(name, "") if name else "" for what, name in column.items()}
        email = value["email"].split("@")[0]
        name = value["name"] or f"{value['first']} {value['last']}".strip()
        identity = safe(value["id"] or email or turned(name))
        roster.ids.append(identity)
        numbers = [row[names[n]] for n in NUMBERS if n in names]
        last, first = value["last"], value["first"]
        said = [value["id"], value["email"], email, name, turned(name), f"{last}{first}", *numbers]
        if first and last:
            said += [f"{first}{last}"]
        words = turned(name).split()
        if len(words) > 1:
            said += [words[-1] + "".join(words[:-1])]  # Canvas writes doejane
        for k in {k for text in said for k in (key(text), key(text).lstrip("0")) if k}:
            means.setdefault(k, set()).add(identity)
    roster.known = {k: next(iter(ids)) for k, ids in means.items() if len(ids) == 1}
    return roster


def decode(data):
    for encoding in ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            break
    return data.decode("cp1252", errors="replace")


def turned(name):
    """ "Doe, Jane" as "Jane Doe"."""
    last, comma, first = name.partition(",")
    return f"{first.strip()} {last.strip()}" if comma else name


def safe(name):
    """A name as it can be a folder's and nbgrader's: letters with their marks, digits, _ . @ -"""
    return re.sub("_+", "_", "".join(map(kept, composed(name).strip()))).strip("_-.")


def composed(text):
    """A text as most write it (NFC: macOS takes ü apart), without what no eye sees: marks of direction, joiners."""
    text = unicodedata.normalize("NFC", text)
    return "".join(c for c in text if unicodedata.category(c) != "Cf")


def kept(c):
    return c if c.isalnum() or c in "_.@-" or unicodedata.category(c)[0] == "M" else "_"


# -------------------------------------------------------------------------------- grades back


def harmless(x):
    """A cell; a spreadsheet takes a text that starts like a formula for one, a number stays a number."""
    if not isinstance(x, str):
        return x
    try:
        float(x)
        return x
    except ValueError:
        formula = x.lstrip()[:1] in (
            "=",
            "+",
            "-",
            "@",
            "\uff1d",
            "\uff0b",
            "\uff0d",
            "\uff20",
            "|",
        )
        return "'" * formula + shown(x)


def table(header, rows):
    """Rows as CSV text; names with commas are quoted, formulas are none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([[harmless(cell) for cell in row] for row in [header, *rows]])
    return text.getvalue()


def with_grades(roster, platform, lesson, grades):
    """The platform's own file with the grades of a lesson filled in.

    platform : "canvas": a column named for the lesson (its own column, if the file has one: "05_ppo (1234)")
               "moodle": the column Grade of a grading worksheet
    grades   : {student: score}
    returns  : (CSV text, [students of the class that are not in the file])
    """
    header, left = list(roster.header), set(grades)
    if platform == "moodle":
        column = next((h for h in header if h.strip().casefold() == "grade"), "Grade")
    else:
        column = next((h for h in header if key(h).startswith(key(lesson))), lesson)
    header += [column] if column not in header else []
    rows = []
    for row, identity in zip(roster.rows, roster.ids, strict=True):
        said = dict(row)
        if identity in grades:
            said[column] = f"{grades[identity]:g}"
            left.discard(identity)
        rows.append([said.get(name, "") for name in header])
    return table(header, rows), sorted(left)
