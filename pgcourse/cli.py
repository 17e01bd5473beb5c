"""The command `pgcourse`. Each subcommand lives in its own room; only that room is imported."""

import _thread
import contextlib
import errno
import signal
import sys
import time
from importlib import import_module

import typer
from typer.core import TyperGroup

# name: (module, function or Typer app in it, one line of help)
COMMANDS = {
    "doctor": (
        "pgcourse.doctor",
        "command",
        "What is installed, what is missing, what to do.",
    ),
    "build": ("pgcourse.classroom.build", "command", "Build the notebooks from solutions/*.py."),
    "claims": ("pgcourse.classroom.claims", "command", "Run what shows a lesson's sentences."),
    "train": (
        "pgcourse.runs",
        "train_command",
        "Train an agent by name; results are kept in runs/.",
    ),
    "plot": ("pgcourse.runs", "plot_command", "Draw the learning curves of saved runs."),
    "progress": (
        "pgcourse.classroom.progress",
        "command",
        "Which exercises pass in your saved notebooks.",
    ),
    "drill": (
        "pgcourse.classroom.drill",
        "command",
        "Functions of the lessons you did, each with one mistake to find.",
    ),
    "site": ("pgcourse.classroom.site", "command", "The solved lessons as pages to read."),
    "bench": ("pgcourse.bench.run", "command", "This project and its peers, side by side."),
    "classroom": ("pgcourse.classroom.classroom", "app", "Make a classroom, or an example of one."),
    "grade": ("pgcourse.classroom.grade", "command", "Grade a class: parallel, sandboxed."),
    "export": (
        "pgcourse.classroom.export",
        "command",
        "Grades as Canvas, Moodle, a sheet take them.",
    ),
    "report": ("pgcourse.classroom.report", "command", "Scores and mistakes of a class."),
}


def app(args=None):
    """Run the command line; an interruption at any moment ends it in one line, with 130 as shells do."""
    ctrl_c = CtrlC()
    before = signal.signal(signal.SIGINT, ctrl_c.heard)
    try:
        run(args)
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        raise SystemExit(130) from None
    finally:
        ctrl_c.end()
        signal.signal(signal.SIGINT, before)
        # CPython remembers that an interrupt left an exec'd string (dataclasses, torch's import make such), also
        # when somebody caught it further out, and dies by the signal in place of exiting; the next string clears that.
        exec("")


class CtrlC:
    """Ctrl-C while a command runs: KeyboardInterrupt, but not while a module is imported, where torch's C++ would
    abort and others take it for a missing module, nor while a process is started, which would fail with a traceback.

    It asks again until the command has ended: whoever catches everything, or a `__del__`, loses an exception.
    """

    AGAIN = 0.05  # seconds
    WHOLE = (
        "<frozen importlib._bootstrap>",
        "popen_spawn_posix.py",
    )  # what runs there runs to its end

    def __init__(self):
        self.asks, self.over, self.lock = False, False, _thread.allocate_lock()

    def heard(self, number, frame):
        if not self.asks:
            self.asks = True
            _thread.start_new_thread(self.ask_again, (_thread.get_ident(),))
        while frame and not frame.f_code.co_filename.endswith(self.WHOLE):
            frame = frame.f_back
        if not self.over and frame is None and not on_its_way(sys.exception()):
            raise KeyboardInterrupt

    def ask_again(self, main):
        while True:
            time.sleep(self.AGAIN)
            with self.lock:
                if self.over:
                    return
                if hasattr(signal, "pthread_kill"):
                    signal.pthread_kill(main, signal.SIGINT)  # wakes what waits
                else:
                    _thread.interrupt_main()

    def end(self):
        """From here on nobody is interrupted."""
        with self.lock:
            self.over = True


def on_its_way(error):
    """Whether an interrupt is being handled: what is tidied up is left in peace."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


REFUSED = {
    getattr(errno, name, None)
    for name in "EACCES EPERM EROFS ENOSPC EDQUOT EEXIST ENOTDIR EISDIR ENAMETOOLONG EIO EMFILE ENFILE ENOMEM".split()
}


def from_outside(error):
    """Whether the system or a locked database said no; anything else is a fault of ours, with its traceback."""
    database = type(error).__module__ == "sqlalchemy.exc" and type(error).__name__
    refused = getattr(error, "errno", 0) in REFUSED or isinstance(error, MemoryError)
    return refused or database == "OperationalError"


def said(error, *more):
    """What an error says, and what was noted on it (what is kept, for example), in one line."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    line = "".join(c if c.isprintable() else "\ufffd" for c in line)
    typer.echo(" ".join([f"{line}.", *getattr(error, "__notes__", ()), *more]), err=True)


@contextlib.contextmanager
def in_one_line():
    """Typer's own answer to an interruption is to exit without a word, to a full disk a traceback."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.args = ("Interrupted",)
        said(error)
        raise typer.Exit(130) from None
    except Exception as error:
        if not from_outside(error):
            raise
        said(error, "Mend this and run the same command again.")
        raise typer.Exit(2) from None


class Commands(TyperGroup):
    def make_context(self, *given, **more):
        with in_one_line():
            return super().make_context(*given, **more)

    def invoke(self, ctx):
        with in_one_line():
            return super().invoke(ctx)


def run(args):
    args = sys.argv[1:] if args is None else list(args)
    called = next((arg for arg in args if not arg.startswith("-")), None)
    commands = typer.Typer(
        cls=Commands,
        help="Policy gradients, from the theorem to RLHF: the course's own tools.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name, (module, body, line) in COMMANDS.items():
        if name != called:
            commands.command(name, help=line)(lambda: None)
            continue
        found = getattr(import_module(module), body)
        if isinstance(found, typer.Typer):
            commands.add_typer(found, name=name, help=line)
        else:
            commands.command(name, help=line)(found)
    commands(args, prog_name="pgcourse")


if __name__ == "__main__":
    app()
