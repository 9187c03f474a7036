"""Write the map of modules into docs/architecture.md: `python -m tests.docs.module_map`."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- modules: start -->", "<!-- modules: end -->"


def layers() -> list[list[str]]:
    """Return the packages of each layer of the import contract, top layer first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    return [layer.split(" | ") for layer in contract["layers"]]


def summary(path: Path) -> str:
    """Return the first line of a module's docstring."""
    text = path.read_text(encoding="utf-8")
    docstring = text.split('"""', 2)[1] if text.startswith('"""') else ""
    return docstring.strip().split("\n\n")[0].replace("\n", " ")


def modules(root: Path = ROOT) -> str:
    """Return one section per package, top layer first, with one table row per module."""
    lines = []
    for package in (name for layer in layers() for name in layer):
        folder = root / "peak_trade" / package
        lines += ["", f"### {package}", "", summary(folder / "__init__.py"), ""]
        lines += ["| module | summary |", "|--------------------|----------------------------------------|"]
        for path in sorted(folder.rglob("*.py")):
            if path.name not in {"__init__.py", "__main__.py"}:
                lines.append(f"| `{path.relative_to(folder).as_posix()}` | {summary(path).replace('|', '&#124;')} |")
    return "\n".join(lines)


def with_modules(page: str) -> str:
    """Return a page with the current map between its two marks."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{modules()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_modules(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
