"""The gallery of mistakes: what people write, what it does, why it matters, as pages made from the checks."""

import difflib
from dataclasses import replace

from pgcourse.checks import lesson_exercises
from pgcourse.checks.edits import edited_text, fill, plain_text


def lesson_page(lesson, title):
    """A lesson's page in Markdown: each function with each of its mistakes as a change of its text.

    lesson : "05_ppo";  title: of the page
    """
    parts = [f"# {title}"]
    for name, exercise in lesson_exercises(lesson).items():
        shown = [m for m in exercise.pitfalls if not getattr(m, "symptom", False)]
        if shown:
            parts += [f"## {name}", *(entry(m, exercise.reference) for m in shown)]
    return "\n\n".join(parts) + "\n"


def entry(mistake, reference):
    says = " ".join(filter(None, (getattr(mistake, "says", None) or mistake.message, mistake.why)))
    return f"### {mistake.name}\n\n{escaped(says)}\n\n{change(mistake, reference)}".rstrip()


def escaped(sentence):
    """A sentence of the checks is plain text."""
    for sign in "\\*_$<[`":
        sentence = sentence.replace(sign, "\\" + sign)
    return sentence


def change(mistake, reference):
    """The mistake as a diff of the function's text, or the whole of another function."""
    first = mistake.versions[0]
    if callable(first):
        return fenced(source(first), "python")
    changed = []
    for name in dict.fromkeys(e.of for e in first):
        fn = reference.__globals__[name] if name else reference
        edits = [replace(fill(e, mistake.holes), of="") for e in first if e.of == name]
        before, after = (edited_text(fn, todo, False).splitlines() for todo in ([], edits))
        lines = [*difflib.unified_diff(before, after, n=2, lineterm="")][3:]
        changed.append(fenced("\n".join(lines), "diff"))
    used = dict.fromkeys(fn for e in first for fn in e.use)
    return "\n\n".join(changed + [fenced(text, "python") for fn in used if (text := source(fn))])


def source(fn):
    """The text of a function; "" where it has none of its own (a lambda, a module, a library's)."""
    try:
        text = plain_text(fn)
    except (OSError, TypeError, SyntaxError, ValueError, AttributeError):
        return ""
    own = getattr(fn, "__module__", "") or ""
    return text.rstrip() if text.startswith("def ") and own.startswith("pgcourse") else ""


def fenced(text, language):
    return f"```{language}\n{text}\n```" if text else ""
