"""The documentation: what is generated is up to date, and links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rqtool.cli.verbs import VERBS

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("docs/*.md")))]
EXAMPLES = [str(each.relative_to(ROOT)) for each in sorted(ROOT.glob("examples/*/*"))]
COMMAND = re.compile(rf"\brqtool ({'|'.join(VERBS)})\b([^`\n|>;]*)")
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


@pytest.mark.parametrize("name", [*PAGES, *EXAMPLES])
def test_options_that_are_used_exist(name: str) -> None:
    """Of `rqtool VERB`, in the text and in examples; a list in YAML is a command line, too."""
    reference = (ROOT / "docs" / "reference.md").read_text()
    for verb, line in COMMAND.findall((ROOT / name).read_text().replace("[rqtool, ", "rqtool ").replace(", ", " ")):
        section = reference.partition(f"\n## rqtool {verb}\n")[2].partition("\n## ")[0]
        for option in re.findall(r"(?<=\s)--?[a-zA-Z][\w-]*", line.partition(" -- ")[0]):
            assert re.search(rf"`([^`]*, )?{option}[` ,]", section), f"rqtool {verb}{line}: {option}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_example_goes_on_in_the_wrong_folder(name: str) -> None:
    """A `cd` that fails ends the command."""
    assert not re.search(r"\bcd [^&|;\n]*(;|$)", (ROOT / name).read_text(), re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
