"""The report of a lesson as one page: what was not understood, who needs help, each exercise, who is missing.

Names and texts are a student's and hostile: Jinja escapes whatever it puts in, and the page's policy lets no
script run but the one that sorts tables (templates/report/sortable.js, in the public domain), by its hash.
"""

import base64
import hashlib
import io
import re
from functools import wraps

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pgcourse.classroom.answers import without_author, written
from pgcourse.classroom.pages import TEMPLATES
from pgcourse.classroom.report import FALL, LOW, NOT_WRITTEN

EXAMPLES, MOST_TRIES, MOST_LINES = 2, 40, 30
FIRST = 10  # rows that are shown before the rest is folded away

# what stands in the pictures for the page's own colors, which differ in the light and in the dark
SENTINELS = {
    "ink": "#010203",
    "right": "#010204",
    "partly": "#010205",
    "nothing": "#010206",
    "empty": "#010207",
}
KINDS = {
    "right": "right",
    "partly": "partly right",
    "nothing": "wrong, no points",
    "empty": "not written",
}


def to_html(report, pairs=None):
    """The page: self-contained, to be opened without a network. pairs: similar.Pair, where they were looked for"""
    env = Environment(
        loader=FileSystemLoader(TEMPLATES / "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"broken": broken, "points": "{:g}".format, "percent": "{:.0%}".format}
    sorter = (TEMPLATES / "report" / "sortable.js").read_text(encoding="utf-8").strip()
    digest = hashlib.sha256(sorter.encode()).digest()
    kinds = of_each_exercise(report)
    mistakes = report.misconceptions()
    return env.get_template("report.html.j2").render(
        report=report,
        mistakes=mistakes,
        misconceptions=[(m, examples(m, report)) for m in mistakes if m.ran],
        kinds=kinds,
        kind_names=KINDS,
        distribution=distribution_plot(kinds) if kinds else "",
        over_time=over_time_plot(report) if len(report.lessons) > 1 else "",
        mean=sum(p.total for p in report.graded) / max(1, len(report.graded)),
        pairs=pairs,
        low=LOW,
        fall=FALL,
        first=FIRST,
        sorter=Markup(sorter),
        sorter_hash=base64.b64encode(digest).decode(),
    )


def broken(name):
    """A name that may break after its underscores."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))


# ------------------------------------------------------------------------------------- examples


def examples(misconception, report):
    """[(exercise, text)]: what two of those who made a mistake wrote, without what says who they are."""
    names = [key for p in report.people if len(key := p.name.casefold()) > 3]
    made = [(e, p) for e, people in misconception.where.items() for p in people]
    # in an order that says nothing about who it is; most of a class may have copied the same
    made.sort(key=lambda pair: hashlib.sha256(pair[1].name.encode()).digest())
    found = {}
    for exercise, p in made[:MOST_TRIES]:
        text = without_author(written(p.folder, report.lesson).get(exercise, ""))
        said = text.casefold()
        if text and text not in found and not any(name in said for name in names):
            found[text] = exercise
        if len(found) == EXAMPLES:
            break
    return [(exercise, beginning(text)) for text, exercise in found.items()]


def beginning(text):
    lines = text.splitlines()
    return "\n".join(lines[:MOST_LINES] + ["…"] * (len(lines) > MOST_LINES))


# ------------------------------------------------------------------------------------- pictures


def of_each_exercise(report):
    """{exercise: {kind: how many}} for the KINDS"""
    found = {}
    for name in report.points:
        verdicts = [p.verdicts[name] for p in report.people if name in p.verdicts]
        if verdicts:
            kinds = [kind_of(v) for v in verdicts]
            found[name] = {kind: kinds.count(kind) for kind in KINDS}
    return found


def kind_of(verdict):
    if verdict["passed"]:
        return "right"
    if verdict["pitfall"] == NOT_WRITTEN:
        return "empty"
    return "partly" if verdict["score"] else "nothing"


def in_our_style(plot):
    """A picture that is the same whatever style the machine or a notebook has set."""

    @wraps(plot)
    def drawn(*args):
        from matplotlib import rc_context, rcdefaults

        with rc_context():
            rcdefaults()
            return plot(*args)

    return drawn


@in_our_style
def distribution_plot(kinds):
    """How each exercise came out: a bar of all who were graded."""
    figure, ax = new_figure(height=0.9 + 0.28 * len(kinds))
    left = [0] * len(kinds)
    for kind, label in KINDS.items():
        counts = [each[kind] for each in kinds.values()]
        ax.barh(
            range(len(kinds)), counts, left=left, color=SENTINELS[kind], label=label, height=0.7
        )
        left = [a + b for a, b in zip(left, counts, strict=True)]
    ax.set_yticks(range(len(kinds)), [plain(name) for name in kinds])
    ax.invert_yaxis()
    ax.set_xlim(0, max(left))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("students")
    figure.legend(loc="outside upper center", ncols=4, frameon=False, labelcolor=SENTINELS["ink"])
    return as_svg(
        figure, "distribution", "Bar chart: how many students were right, partly right, …"
    )


@in_our_style
def over_time_plot(report):
    """The class's shares of the points, lesson by lesson: median, quartiles, the rest."""
    figure, ax = new_figure(height=2.6)
    columns = [
        [100 * p.shares[lesson.name] for p in report.people if lesson.name in p.shares]
        for lesson in report.lessons
    ]
    ink = {"color": SENTINELS["ink"]}
    ax.boxplot(
        columns,
        boxprops=ink,
        whiskerprops=ink,
        capprops=ink,
        medianprops={"color": SENTINELS["right"], "linewidth": 3},
        flierprops={"markeredgecolor": SENTINELS["ink"], "markersize": 3},
    )
    labels = [
        f"{plain(lesson.name[:2])}\n{lesson.when:%d %b}" if lesson.when else plain(lesson.name[:2])
        for lesson in report.lessons
    ]
    ax.set_xticks(range(1, len(labels) + 1), labels)
    ax.set_ylim(-4, 104)
    ax.set_ylabel("% of the points")
    return as_svg(figure, "over-time", "Box plot: shares of the points, lesson by lesson")


def new_figure(height):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), layout="constrained")
    ax = figure.subplots()
    for spine in ax.spines.values():
        spine.set_color(SENTINELS["ink"])
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=SENTINELS["ink"])
    ax.xaxis.label.set_color(SENTINELS["ink"])
    ax.yaxis.label.set_color(SENTINELS["ink"])
    return figure, ax


def plain(name):
    """A name in which Matplotlib reads no mathematics."""
    return name.replace("$", r"\$")


def as_svg(figure, name, says):
    """The figure as a piece of a page, in the page's colors; `name` keeps the ids of two apart."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    for color, sentinel in SENTINELS.items():
        svg = svg.replace(sentinel, f"var(--{color})")
    label = escape(says)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))
