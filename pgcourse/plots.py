"""The pictures of the course: one style, color-blind safe, on white so that dark themes can show it."""

import matplotlib.pyplot as plt

# Okabe & Ito 2008: eight colors that people with any color vision can tell apart
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
COLORS = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK, YELLOW]


def style():
    """Use the course's style for every figure from here on."""
    plt.rcParams.update(
        {
            "figure.figsize": (7, 3.5),
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": plt.cycler(color=COLORS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "legend.frameon": False,
            "font.size": 11,
        }
    )
