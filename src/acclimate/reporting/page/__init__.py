"""The report: one HTML file that needs nothing else, of one run or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from acclimate._version import __version__
from acclimate.reporting.analysis import analyse
from acclimate.reporting.page.charts import MARKS
from acclimate.reporting.page.comparison import Comparison
from acclimate.reporting.page.pages import RunPage
from acclimate.reporting.page.sprites import COLUMNS
from acclimate.runs.adaptation import Adaptation
from acclimate.training.state import write_atomic

__all__ = ["write_report"]


def write_report(adaptations: Sequence[Adaptation], out: Path) -> Path:
    """Write the report of a finished run, or the comparison of several, as one self-contained HTML file.

    Raises
    ------
    RunError
        A run has not finished.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    templates = Environment(
        loader=PackageLoader(__name__), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.globals |= {"columns": COLUMNS, "marks": MARKS, "zip": zip}
    analysed = [(adaptation, analyse(adaptation)) for adaptation in adaptations]
    page: RunPage | Comparison = RunPage(*analysed[0]) if len(analysed) == 1 else Comparison(analysed)
    template = "run.html" if isinstance(page, RunPage) else "comparison.html"
    body = templates.get_template(template).render(page=page)  # first, as this fills the sheet of images
    html = templates.get_template("layout.html").render(
        title=page.title, body=Markup(body), sheet=page.sheet, large=page.large, version=__version__
    )
    write_atomic(out, html.encode())
    return out
