"""`pgcourse drill`: the drill of pgcourse.drill in a terminal."""

import os
from pathlib import Path
from typing import Annotated

import click
import typer
from rich.console import Console
from rich.syntax import Syntax

from pgcourse.checks import LESSONS
from pgcourse.drill import NOTHING, Drill, again, names_of

MENDED = "my_drill.py"
CHOICES = "Enter: again, l: show the line, g: give up, q: stop"
HEADER = """# {name}, of lesson {lesson}: one place is wrong. Find it, mend it, save the file.
# It needs no imports: it is run where the course's own function lives.

"""


def command(
    folder: Annotated[Path, typer.Argument(help="Where your notebooks are.")] = Path("."),
    count: Annotated[int, typer.Option(min=1, help="So many functions.")] = 5,
    lesson: Annotated[
        list[str] | None, typer.Option(help='Like "05_ppo": of this one, whatever is done.')
    ] = None,
    file: Annotated[bool, typer.Option("--file", help="No editor: mend my_drill.py.")] = False,
):
    """Functions of the lessons you have done, each with one mistake in it: find it, mend it."""
    console = Console(highlight=False)
    unknown = set(lesson or ()) - set(LESSONS)
    if unknown:
        typer.echo(f"No lesson {', '.join(unknown)}; there are: {', '.join(LESSONS)}.", err=True)
        raise typer.Exit(2)
    drill = Drill(folder)
    with Console(stderr=True).status("") as status:
        names = names_of(drill, lesson or (), lambda lesson: status.update(f"judging {lesson}"))
    editor = (os.environ.get("VISUAL") or os.environ.get("EDITOR")) and not file
    alone = done = 0
    for done in range(1, count + 1):
        task = drill.choose(names)
        if task is None:
            typer.echo(f"{NOTHING} (--lesson 05_ppo)", err=True)
            raise typer.Exit(1)
        drill.save()
        console.print(f"\n[bold]{done}. {task.exercise.name}[/] (lesson {task.exercise.lesson})")
        how = one(drill, task, folder / MENDED, editor, console)
        if how is None:
            done -= 1
            break
        alone += how
    if done:
        console.print(f"\n{alone} of {done} mended at the first try.")


def one(drill, task, path, editor, console):
    """One task. returns: whether it was mended at the first try, None if the learner stops"""
    header = HEADER.format(name=task.exercise.name, lesson=task.exercise.lesson)
    path.write_text(f"{header}{task.text}\n", encoding="utf-8")
    try:
        while True:
            if editor:
                click.edit(filename=str(path))
            else:
                typer.prompt(f"Mend {path}, save it, press Enter", "", show_default=False)
            text = path.read_text(encoding="utf-8")
            blank = "\n" * header.count("\n")  # line numbers are those of the file
            passed, sentence = drill.tried(text.replace(header, blank))
            asked = drill.kept["asked"]
            console.print(f"{'✓ ' * passed}{sentence}", markup=False)
            if passed:
                tell(drill, task, console, True)
                return asked["tries"] == 1 and not asked["helped"]
            choice = typer.prompt(CHOICES, "", show_default=False)
            if choice == "l":
                asked["helped"] = True
                console.print(f"  {task.line}", markup=False)
            elif choice in ("g", "q"):
                tell(drill, task, console, False)
                return None if choice == "q" else False
    finally:
        path.unlink(missing_ok=True)


def tell(drill, task, console, passed):
    """Say what the mistake was, and when the function comes back."""
    for line in filter(None, (task.mistake.says, task.mistake.why)):
        console.print(line, markup=False)
    console.print(Syntax(task.difference(), "diff", background_color="default", word_wrap=True))
    console.print(again(drill.answered(passed)))
