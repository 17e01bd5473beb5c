"""Pictures of text for lesson 7: words colored by a number, answers side by side, panels that grow.

The HTML has tinted backgrounds and inherits its text color, so it is readable in light and dark
themes; every number is written out too, for screen readers and for those who see no colors.
"""

import html
from collections.abc import Sequence

import matplotlib.pyplot as plt
from IPython.display import HTML, display
from matplotlib.figure import Figure

from pgcourse.plots import BLUE, GREEN, ORANGE, RED

NEGATIVE, POSITIVE = "0,114,178", "230,159,0"  # blue and orange of the course's palette


def colored_text(
    rows: Sequence[tuple[str, Sequence[str], Sequence[float]]], scale: float | None = None
) -> HTML:
    """Words with a number each: orange for positive, blue for negative, the number under the word.

    rows  : list of (label, words, numbers)
    scale : the number with full color; by default the largest
    """
    scale = scale or max(abs(x) for _, _, numbers in rows for x in numbers) or 1.0
    lines = []
    for label, words, numbers in rows:
        cells = []
        for word, x in zip(words, numbers, strict=True):
            tint = POSITIVE if x > 0 else NEGATIVE
            alpha = 0.75 * min(1.0, abs(x) / scale)
            cells.append(
                f"<span style='display:inline-block;text-align:center;margin:1px;padding:2px 5px;"
                f"border-radius:4px;background:rgba({tint},{alpha:.2f})'>{html.escape(word)}<br>"
                f"<small style='opacity:.75'>{x:+.2f}</small></span>"
            )
        lines.append(
            f"<div style='margin:.4em 0'><b>{html.escape(label)}</b> {''.join(cells)}</div>"
        )
    return HTML(f"<div style='color:inherit;line-height:1.3'>{''.join(lines)}</div>")


def table(header: Sequence, rows: Sequence[Sequence]) -> HTML:
    """A plain table of text."""

    def line(cells, tag):
        style = "text-align:left;vertical-align:top;padding:.3em .8em"
        return "".join(f"<{tag} style='{style}'>{html.escape(str(c))}</{tag}>" for c in cells)

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return HTML(f"<table style='color:inherit'><tr>{line(header, 'th')}</tr>{body}</table>")


PANELS = (  # what `rlhf.evaluate` measures: key, title, unit
    ("score", "learned reward", "score (standard deviations)"),
    ("gold", "gold; dashed: its valence alone", "valence, or −1 if unreadable"),
    ("readable", "readable answers", "share"),
    ("kl", "KL to the reference", "nats per answer"),
    ("length", "length", "tokens per answer"),
    ("distinct", "different answers", "share of all answers"),
)


def panels(histories: dict[str, list[dict]]) -> Figure:
    """Six panels over the iterations of RLHF; histories = {label: history of `rlhf.train`}."""
    fig, axes = plt.subplots(2, 3, figsize=(11, 5.2), sharex=True, layout="constrained")
    for i, (label, history) in enumerate(histories.items()):
        steps = [seen["iteration"] for seen in history]
        color, marker = (BLUE, RED, GREEN, ORANGE)[i % 4], "osD^"[i % 4]
        style = dict(color=color, ms=4, label=label)
        for ax, (key, title, unit) in zip(axes.flat, PANELS, strict=True):
            ax.plot(steps, [seen[key] for seen in history], marker + "-", **style)
            ax.set(title=title, ylabel=unit)
        axes[0, 1].plot(steps, [seen["valence"] for seen in history], "--", color=color)
    for ax in axes[1]:
        ax.set_xlabel("iteration")
    axes[0, 1].set_ylim(-1.05, 1.05)
    axes[0, 2].set_ylim(0, 1.05)
    axes[1, 2].set_ylim(0, 1.05)
    if len(histories) > 1:
        axes[0, 0].legend()
    return fig


class LivePanels:
    """The panels while RLHF runs, and one prompt's answer at each look; a callback for `train`."""

    def __init__(self) -> None:
        self.handle = None

    def __call__(self, history: list[dict]) -> None:
        fig = panels({"": history})
        shown = display(fig, display_id=True) if self.handle is None else self.handle.update(fig)
        self.handle = self.handle or shown
        plt.close(fig)

    def answers(self, history: list[dict], number: int = 0) -> HTML:
        """What became of one prompt, evaluation by evaluation."""
        prompt = history[0]["texts"][number][0]
        rows = [(seen["iteration"], seen["texts"][number][1]) for seen in history]
        return table(("iteration", prompt), rows)
