"""Check a built site's links without a network: ``python docs/_site/links.py FOLDER``.

Every link to a page, a file or an anchor of the site must lead there; those to elsewhere must be https, or http where
a publisher has nothing else.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and what in it can be linked to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def broken(folder: Path) -> list[str]:
    """Return the links that lead nowhere, each with its page."""
    pages = {file.resolve(): Page(file) for file in folder.rglob("*.html")}
    found = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                wrong = not parts.netloc
            elif parts.scheme:
                wrong = parts.scheme not in ("data", "mailto")
            else:
                target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
                target = target / "index.html" if target.is_dir() else target
                wrong = not target.exists()
                if not wrong and parts.fragment and target in pages:
                    wrong = unquote(parts.fragment) not in pages[target].anchors
            if wrong:
                found.append(f"{file.relative_to(folder.resolve())}: {link}")
    return found


if __name__ == "__main__":
    lost = broken(Path(sys.argv[1]))
    print("\n".join(lost) or "all links lead somewhere")
    sys.exit(bool(lost))
