"""Losses and accuracies over the training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from acclimate.reporting.analysis import Analysis
from acclimate.reporting.curves import Panel, method_panels, self_training_panels
from acclimate.reporting.figures.style import ADAPTED, SOURCE, panels

COLOURS = (SOURCE, ADAPTED, "#222222", "#009e73", "#cc79a7", "#e69f00")
STYLES = ("-", (0, (4, 1.5)), (0, (1, 1)), "-.")
SMOOTHING = 0.02
"""Share of a curve that its drawn mean runs over."""

MOST_NAMED = 20
"""Classes up to which an axis names them."""


def draw_training(analysis: Analysis) -> Figure:
    """Draw every loss and accuracy that the method logged; the discriminators' healthy band is marked (figure 9)."""
    return _draw_panels(method_panels(analysis.method_curves))


def draw_self_training(analysis: Analysis) -> Figure:
    """Draw how the classifier learnt on from the target, and the shares of its classes there and in the source."""
    assert analysis.shares is not None
    shown = self_training_panels(analysis.classifier_curves)
    figure = _draw_panels(shown, more=1)
    axis, colours = figure.axes[-1], {"source": SOURCE, "given": ADAPTED, "true": "#222222"}
    words = {"source": "source, labels", "given": "target, as classified", "true": "target, labels"}
    order = analysis.shares["given"].argsort(descending=True, stable=True).tolist()
    for name, shares in analysis.shares.items():
        axis.plot(shares[order].numpy(), ".-", color=colours[name], linewidth=0.7, label=words[name])
    axis.set(title="shares of the classes", ylim=(0, None))
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    if len(order) <= MOST_NAMED:
        axis.set_xticks(range(len(order)), [analysis.classes[one] for one in order], rotation=90)
    else:
        axis.set_xlabel("classes, the most given first")
    axis.legend(fontsize=7.5)
    return figure


def _draw_panels(shown: Sequence[Panel], more: int = 0) -> Figure:
    """Draw panels of curves, and leave room for some more axes."""
    figure, axes = panels(len(shown) + more, 4 if more else 3, 3.1, 2.4 if more else 2.2)
    for panel, axis in zip(shown, axes, strict=False):
        axis.set_title(panel.title)
        if panel.band is not None:
            low, high = (100 * bound for bound in panel.band)
            axis.axhspan(*panel.band, color="#009e73", alpha=0.12, linewidth=0, label=f"{low:.0f}–{high:.0f} %")
        named = list(panel.curves) != [panel.title]
        axis.set_ymargin(0.17 * len(panel.curves) if named else 0.05)  # room for the legend
        for number, (name, curve) in enumerate(panel.curves.items()):
            colour = COLOURS[number % len(COLOURS)]
            steps, values = curve.T.numpy()
            axis.plot(steps, values, color=colour, alpha=0.25, linewidth=0.7)
            axis.plot(steps, smoothed(values), color=colour, linestyle=STYLES[number % len(STYLES)], label=name)
        axis.set_xlabel("step")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        axis.set_ylabel(panel.axis)
        if panel.accuracy:
            axis.set_ylim(0, 1)
            axis.yaxis.set_major_formatter(PercentFormatter(1))
        else:
            axis.set_ylim(bottom=0 if all(bool((curve[:, 1] >= 0).all()) for curve in panel.curves.values()) else None)
        if named:
            axis.legend(fontsize=7.5)
    return figure


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the running mean over a small share of the curve, of the same length."""
    half = int(SMOOTHING * len(values) / 2)
    return np.convolve(np.pad(values, half, mode="edge"), np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")
