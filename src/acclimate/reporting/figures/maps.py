"""t-SNE maps of pixels and features."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from acclimate.reporting.analysis import Analysis
from acclimate.reporting.figures.style import ADAPTED, CLASSES, MARKERS, SOURCE, TARGET, panels

SIDE = 3.4


def draw_source_features(analysis: Analysis) -> Figure:
    """Draw how the source-only classifier sees each domain, by class (figure 2)."""
    assert analysis.before_map is not None
    figure, axes = panels(2, 2, SIDE, SIDE)
    source, target = analysis.before_map.split([len(analysis.source), len(analysis.target)])
    _draw_classes(axes[0], analysis.source_name, source, analysis.source_labels, analysis.classes)
    _draw_classes(axes[1], analysis.target_name, target, analysis.target_labels, analysis.classes)
    return figure


def draw_pixels(analysis: Analysis) -> Figure:
    """Draw source, translated source and target by their pixels: one map, shown before and after (figure 11)."""
    assert analysis.pixel_map is not None
    count = len(analysis.source)
    source, translated, target = analysis.pixel_map.split([count, count, len(analysis.target)])
    figure, axes = panels(2, 2, SIDE, SIDE)
    names = analysis.source_name, f"{analysis.source_name}, translated", analysis.target_name
    _draw_domains(axes[0], "before", [(names[2], target, TARGET), (names[0], source, SOURCE)])
    _draw_domains(axes[1], "after", [(names[2], target, TARGET), (names[1], translated, ADAPTED)])
    return figure


def draw_features(analysis: Analysis) -> Figure:
    """Draw source and target by their features in the source-only classifier and in the adapted one (figure 12)."""
    assert analysis.before_map is not None
    assert analysis.after_map is not None
    figure, axes = panels(2, 2, SIDE, SIDE)
    sizes = [len(analysis.source), len(analysis.target)]
    translates = analysis.translated is not None
    adapted = f"{analysis.source_name}, translated" if translates else analysis.source_name
    before, after = analysis.before_map.split(sizes), analysis.after_map.split(sizes)
    clouds = [(analysis.target_name, before[1], TARGET), (analysis.source_name, before[0], SOURCE)]
    _draw_domains(axes[0], "before: source-only classifier", clouds)
    clouds = [(analysis.target_name, after[1], TARGET), (adapted, after[0], ADAPTED if translates else SOURCE)]
    _draw_domains(axes[1], f"after: {analysis.kind} classifier", clouds)
    return figure


def _draw_domains(axes: Axes, title: str, clouds: list[tuple[str, Tensor, str]]) -> None:
    for name, points, colour in clouds:
        x, y = points.T.numpy()
        axes.scatter(x, y, s=9, c=colour, marker=MARKERS[colour], alpha=0.65, linewidths=0, label=name)
    _frame(axes, title)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2, markerscale=2, handletextpad=0.1)


def _draw_classes(axes: Axes, title: str, points: Tensor, labels: Tensor, classes: tuple[str, ...]) -> None:
    """Draw points by class, each class named at its centre; unlabelled ones in gray."""
    for label in labels.unique().tolist():
        x, y = points[labels == label].T.numpy()
        colour = TARGET if label < 0 else CLASSES[label % len(CLASSES)]
        axes.scatter(x, y, s=9, c=colour, alpha=0.65, linewidths=0)
    for label in labels[labels >= 0].unique().tolist():
        x, y = points[labels == label].median(0).values.tolist()
        bubble = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": CLASSES[label % len(CLASSES)]}
        axes.text(x, y, classes[label], ha="center", va="center", fontweight="bold", bbox=bubble)
    _frame(axes, title if bool((labels >= 0).any()) else f"{title} (no labels)")


def _frame(axes: Axes, title: str) -> None:
    """Frame a map: its axes have no unit and no meaning but nearness."""
    axes.set_title(title)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[], yticks=[], aspect="equal")
    axes.set(xlabel="t-SNE 1", ylabel="t-SNE 2")
    axes.spines[["top", "right"]].set_visible(True)
