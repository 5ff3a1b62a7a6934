"""Draw docs/images/flow.svg and flow.png: the stages of a campaign and what passes between them.

Run from the project's folder: .venv/bin/python docs/make_flow_picture.py
"""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from heteroforge.report.figures import INK, LAYER_COLOURS, MUTED, PAPER, save, style

# name: column, row, colour, question
STAGES = {
    "library": (0, 1, 0, "which monolayers\nare known?"),
    "clustering": (0, 0, 0, "what makes a good\none good?"),
    "stacks": (1, 1, 0, "which layers fit\non which?"),
    "labels": (1, 0, 0, "what is known\nof stacks?"),
    "gvae": (2, 1, 3, "what do stable\nstacks look like?"),
    "gnn": (2, 0, 3, "what properties,\nhow sure?"),
    "samples": (3, 1, 1, "many new stacks,\naimed at the targets"),
    "screening": (3, 0, 1, "which deserve\na DFT job?"),
    "dft": (4, 0, 2, "is it true?\npw.x, one job each"),
    "report": (4, 1, 2, "what was learned?\nindex.html"),
}
ARROWS = (
    ("library", "clustering"),
    ("library", "stacks"),
    ("stacks", "labels"),
    ("stacks", "gvae"),
    ("labels", "gnn"),
    ("gvae", "samples"),
    ("samples", "screening"),
    ("gnn", "screening"),
    ("screening", "dft"),
    ("dft", "report"),
)
WIDTH, HEIGHT = 1.62, 0.9
STEP_X, STEP_Y = 2.1, 1.5


def edge(name: str, towards: str) -> tuple[float, float]:
    """Where an arrow between two stages meets the box of the first."""
    column, row = STAGES[name][:2]
    other_column, other_row = STAGES[towards][:2]
    x, y = column * STEP_X, row * STEP_Y
    if column != other_column:
        return x + (WIDTH / 2 if other_column > column else -WIDTH / 2), y
    return x, y + (HEIGHT / 2 if other_row > row else -HEIGHT / 2)


def flow_figure() -> Figure:
    """Boxes for the stages, arrows for the files between them."""
    with style():
        figure = Figure(figsize=(9.6, 3.5))
        axes = figure.add_axes((0, 0, 1, 1))
        for name, (column, row, colour, question) in STAGES.items():
            x, y = column * STEP_X, row * STEP_Y
            axes.add_patch(
                FancyBboxPatch(
                    (x - WIDTH / 2, y - HEIGHT / 2),
                    WIDTH,
                    HEIGHT,
                    boxstyle="round,pad=0,rounding_size=0.08",
                    facecolor=PAPER,
                    edgecolor=LAYER_COLOURS[colour],
                    linewidth=1.8,
                )
            )
            axes.text(x, y + 0.22, name, ha="center", va="center", fontweight="bold", color=INK)
            axes.text(x, y - 0.14, question, ha="center", va="center", fontsize=8, color=MUTED)
        arrow = {"arrowstyle": "-|>", "mutation_scale": 12, "color": MUTED, "lw": 1.3}
        for start, end in ARROWS:
            axes.add_patch(FancyArrowPatch(edge(start, end), edge(end, start), **arrow))
        bend = "arc3,rad=-0.13"
        below = -HEIGHT / 2
        axes.add_patch(
            FancyArrowPatch(
                (4 * STEP_X, below), (STEP_X, below), connectionstyle=bend, ls="--", **arrow
            )
        )
        axes.text(
            2.5 * STEP_X, -1.06, "what DFT found teaches the next campaign", ha="center",
            fontsize=8, color=MUTED,
        )  # fmt: skip
        axes.set_xlim(-0.95, 4 * STEP_X + 0.95)
        axes.set_ylim(-1.2, STEP_Y + 0.6)
        axes.axis("off")
    return figure


if __name__ == "__main__":
    save(flow_figure(), Path(__file__).parent / "images" / "flow.png")
