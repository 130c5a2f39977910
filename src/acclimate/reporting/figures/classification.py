"""What classifiers take for what."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from acclimate.reporting.analysis import Analysis
from acclimate.reporting.counts import precision_recall
from acclimate.reporting.figures.style import panels

MOST_WITH_NUMBERS = 20
MARGIN_POINTS = 20


def draw_confusion(analysis: Analysis) -> Figure:
    """Draw the confusion matrices before and after, with each class's precision and recall (figure 13)."""
    assert analysis.confusion is not None
    side = _side(analysis.classes)
    figure, axes = panels(len(analysis.confusion), 2, side + 0.6, side)
    for (kind, counts), axis in zip(analysis.confusion.items(), axes, strict=True):
        right = counts.diagonal().sum() / counts.sum()
        _draw_matrix(axis, f"{kind}: {100 * right:.1f} %", counts, analysis.classes, margins=True)
        axis.set(xlabel="predicted", ylabel=f"{analysis.target_name}, true class")
    return figure


def draw_flips(analysis: Analysis) -> Figure:
    """Draw which class the translated images of each class look like to the judge."""
    assert analysis.flips is not None
    side = _side(analysis.classes)
    figure, (axis,) = panels(1, 1, side + 0.6, side)
    kept = analysis.flips.diagonal().sum() / analysis.flips.sum()
    _draw_matrix(axis, f"{100 * kept:.1f} % keep their class", analysis.flips, analysis.classes)
    axis.set(xlabel=f"translated, as the {analysis.judge} classifier sees it", ylabel=f"{analysis.source_name}, label")
    return figure


def _side(classes: tuple[str, ...]) -> float:
    """Return a matrix's side in inches, margins included."""
    return max(3.0, 1.2 + 0.28 * min(len(classes), MOST_WITH_NUMBERS) + 0.06 * max(map(len, classes)))


def _draw_matrix(axes: Axes, title: str, counts: Tensor, classes: tuple[str, ...], *, margins: bool = False) -> None:
    """Draw rows as shares in %, darker for more, each with its number where there is room; precision and recall too."""
    shares = (100 * counts / counts.sum(1, keepdim=True).clamp_min(1)).numpy()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_title(title, pad=MARGIN_POINTS if margins else None)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if len(classes) > MOST_WITH_NUMBERS:
        return
    axes.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 3 else 0)
    axes.set_yticks(range(len(classes)), classes)
    for row, values in enumerate(shares.tolist()):
        for column, value in enumerate(values):
            if round(value) > 0:
                colour = "white" if value > 55 else "#222222"
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    if margins:
        _write_margins(axes, counts)


def _write_margins(axes: Axes, counts: Tensor) -> None:
    """Write each class's recall beside its row and its precision below its column, in %."""
    classes = len(counts)
    precision, recall = (
        ["–" if value.isnan() else f"{100 * value:.0f}" for value in part] for part in precision_recall(counts)
    )

    def write(column: float, row: float, text: str, align: str = "center") -> None:
        axes.text(column, row, text, ha=align, va="center", fontsize=7, color="#333333")

    for number in range(classes):
        write(classes - 0.3, number, recall[number], "left")
        write(number, -0.75, precision[number])
    write(classes - 0.3, -0.75, "recall", "left")
    write(-0.7, -0.75, "precision", "right")
