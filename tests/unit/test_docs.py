"""The documentation: what is generated is up to date, and links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("docs/*.md")))]
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")


def generated(docs: Path) -> dict[str, str]:
    return {page.name: page.read_text() for page in (docs / "reference.md", *docs.glob("man/*"))}


def test_the_reference_is_what_the_program_says(tmp_path: Path) -> None:
    """docs/reference.md and the man pages. `make docs` writes them."""
    subprocess.run([sys.executable, ROOT / "scripts" / "reference.py", tmp_path], check=True)
    assert generated(tmp_path) == generated(ROOT / "docs"), "run: make docs"


@pytest.mark.parametrize("name", PAGES)
def test_links(name: str) -> None:
    """To files of the repository, and to headings in them."""
    page = ROOT / name
    for path, anchor in LINK.findall(page.read_text()):
        if not path.startswith("http"):
            target = page.parent / path if path else page
            assert target.exists(), path
            assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
