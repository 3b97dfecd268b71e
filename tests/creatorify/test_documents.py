"""Documents name files that exist: links, and paths in backticks."""

import re
from pathlib import Path

import pytest

from tests import ROOT

DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", ".github/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]+)?\)")
FOLDERS = "accounts|projects|render|creatorify|infinitetalk|tests|docs|deploy|templates"
PATH = re.compile(rf"`((?:{FOLDERS})/[\w./-]*)`")
HEADING = re.compile(r"^#+ (.+)$", re.M)


def missing(document: Path) -> list[str]:
    text = document.read_text()
    names = [name for name in PATH.findall(text) if not (ROOT / name).exists()]
    for target, anchor in LINK.findall(text):
        path = (document.parent / target).resolve() if target else document
        if not path.exists():
            names.append(target)
        elif anchor and anchor[1:] not in anchors(path):
            names.append(target + anchor)
    return names


def anchors(document: Path) -> set[str]:
    """As forges make them of headings."""
    headings = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(document.read_text())]
    return {heading.strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_what_a_document_names_is_there(document: Path) -> None:
    assert missing(document) == []


def test_the_check_itself_finds_what_is_missing(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# A page\n`render/nothing.py`, [there](page.md#a-page), [no](x.md), [gone](page.md#else)\n")

    assert missing(document) == ["render/nothing.py", "x.md", "page.md#else"]
