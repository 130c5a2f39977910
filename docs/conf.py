"""How the documentation is built: ``make docs``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_site"))

from acclimate import __version__

project = "acclimate"
author = copyright = "The acclimate developers"  # noqa: A001 (Sphinx calls it so)
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "pages", "printed"]
exclude_patterns = ["_build", "_site"]
html_theme = "furo"
html_title = f"acclimate {version}"
html_show_sphinx = False
html_copy_source = False
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = False
napoleon_use_ivar = True
printed_first = [
    "acclimate data example example",
    "acclimate run example/drawings example/photos --out runs/example",
]
"""Commands that make what the others are shown on, before any page is read."""
