"""The files of a download, a folder or an archive: archives in it are opened, and what cannot be is named."""

import contextlib
import re
import shutil
import tarfile
import tempfile
import unicodedata
import zipfile
from pathlib import Path, PurePosixPath

from pgcourse.checks import cells
from pgcourse.classroom import intake
from pgcourse.classroom.gradebook import ClassError
from pgcourse.classroom.platforms import Item, gradescope

MOST_FILES, MOST_BYTES, MOST_DEPTH = 100_000, 4 * 2**30, 3  # in all archives; archives in archives
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


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
