"""No link in any Markdown file leads nowhere."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
WRITTEN_BY_RUNS = {".cache", ".venv", ".peak_trade", "node_modules", "dist", "build", ".pytest_cache", ".hypothesis"}
MADE_PAGES = tuple(ROOT / "reports" / name for name in ("runs", "site", "pages"))


def is_made(path):
    return any(path.is_relative_to(folder) for folder in MADE_PAGES)


def markdown_files():
    found = []
    for path in sorted(ROOT.rglob("*.md")):
        parts = path.relative_to(ROOT).parts
        if not WRITTEN_BY_RUNS & set(parts) and not is_made(path):
            found.append(path)
    return found


FILES = markdown_files()


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


@cache
def anchors(path):
    """The anchors GitHub makes of a file's headings."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-1")
    return found


def fault(source, target):
    """Why a link leads nowhere, or None; what lies on the network is not asked."""
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None
    name, _, anchor = unquote(target).partition("#")
    path = (source.parent / name).resolve() if name else source
    if is_made(path):
        return None
    if not path.exists():
        return f"{target}: there is no such file"
    if anchor and path.suffix == ".md" and anchor not in anchors(path):
        return f"{target}: no heading gives that anchor"
    return None


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES])
def test_no_link_is_broken(path):
    text = without_code(path.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)", text)
    targets += re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, flags=re.MULTILINE)
    assert [found for target in targets if (found := fault(path, target))] == []


def test_a_planted_broken_link_and_anchor_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One heading: `x`\n")
    assert fault(page, "missing.md") is not None
    assert fault(page, "page.md#two") is not None
    assert fault(page, "#one-heading-x") is None


def test_every_document_is_reachable_from_the_index():
    seen, left = set(), [ROOT / "README.md", ROOT / "docs" / "README.md"]
    while left:
        path = left.pop()
        if path in seen:
            continue
        seen.add(path)
        for target in re.findall(r"\]\(([^)\s#]+\.md)[^)]*\)", without_code(path.read_text(encoding="utf-8"))):
            found = (path.parent / target).resolve()
            if found.exists():
                left.append(found)
    docs = {path for path in FILES if path.is_relative_to(ROOT / "docs")}
    assert sorted(path.relative_to(ROOT).as_posix() for path in docs - seen) == []


def test_the_docs_link_only_to_what_is_shipped_with_them():
    """An installed package has the documents, but not the sources at the place where the repository has them."""
    outside = {
        (path.name, target)
        for path in FILES
        if path.is_relative_to(ROOT / "docs")
        for target in re.findall(r"\]\(([^)\s#:]+)[^)]*\)", without_code(path.read_text(encoding="utf-8")))
        if (path.parent / target).resolve().is_relative_to(ROOT / "peak_trade")
    }
    assert outside == set()
