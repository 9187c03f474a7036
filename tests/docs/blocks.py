"""The blocks of code in the documents, and how they run.

A block runs unless the line before it is `<!-- not run: why -->`. The languages that run are those of `RUN`.
"""

from __future__ import annotations

import linecache
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
RUN = ("console", "python", "toml")
"""Languages of blocks that run: commands after `$` with their output, cells of one namespace, and files."""

SHOWN = ("text",)
"""Languages of blocks that show something."""

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?```(?P<language>[^\n]*)\n(?P<body>.*?)^```$", re.M | re.S
)
_SAVED = re.compile(r"\b[Ss]ave (?:this|them) as\s+`([\w./-]+)`")
_CLASSES = re.compile(r"\bsave the blocks that define classes as `([\w./-]+)`")


class Block(NamedTuple):
    """A fenced block: its line, language and text, why it does not run, and the file that the reader saves it as."""

    line: int
    language: str
    body: str
    not_run: str = ""
    saved_as: str = ""


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    found = []
    of_classes = _CLASSES.search(text)
    for match in _BLOCK.finditer(text):
        named = _SAVED.findall(text[: match.start()].rstrip().rpartition("\n\n")[2])
        saved_as = named[-1] if named else ""
        if of_classes and match["language"] == "python" and re.search(r"^class ", match["body"], re.M):
            saved_as = of_classes[1]
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(line, match["language"], match["body"], match["why"] or "", saved_as))
    return found


def runnable(path: Path) -> list[Block]:
    """Return the blocks of a page that run."""
    return [
        block for block in blocks_of(path.read_text(encoding="utf-8")) if block.language in RUN and not block.not_run
    ]


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a block of the terminal, without `$`, and the lines of output that follow it."""
    for part in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
        command, *output = part.rstrip("\n").split("\n")
        yield command, output


def run_page(path: Path, call: Callable[[list[str]], tuple[int, str]], change_folder: Callable[[str], None]) -> int:
    """Run the blocks of a page in order, and return how many commands, cells and files ran.

    `call` runs a `peak-trade` command with these arguments, and returns its exit code and what it printed. A command
    without output on the page must succeed; otherwise what it prints must be the output, of which `…` leaves lines out.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    n_run = 0
    blocks = runnable(path)
    files: dict[str, str] = {}
    for block in blocks:  # a class that stands below a command is in its file already
        if block.saved_as.endswith(".py"):
            files[block.saved_as] = files.get(block.saved_as, "") + block.body
    for block in blocks:
        if block.language == "toml":
            tomllib.loads(block.body)
            n_run += 1
        if block.saved_as and block.language == "toml":
            files[block.saved_as] = block.body
        if block.language == "python":
            cell = f"{path.name}:{block.line}"
            linecache.cache[cell] = (len(block.body), None, block.body.splitlines(keepends=True), cell)
            exec(compile(block.body, cell, "exec"), names)
            n_run += 1
        for command, output in commands(block) if block.language == "console" else ():
            program, *arguments = shlex.split(command, comments=True)
            n_run += 1
            if program == "cd":
                change_folder(arguments[0])
                continue
            assert program == "peak-trade", f"{path.name}:{block.line}: mark the block that has {command}"
            for name, text in files.items():
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text(text, encoding="utf-8")
            code, printed = call(arguments)
            where = f"{path.name}:{block.line}: {command}\n{printed}"
            if output:
                assert is_shown_by(printed.splitlines(), output), where
            else:
                assert code == 0, where
    return n_run


def is_shown_by(printed: list[str], output: list[str]) -> bool:
    """Return whether lines of output are what was printed; a line `…` stands for any number of lines.

    Blanks at the end of a line do not count.
    """
    pattern = "".join(r"(?:.*\n)*" if line == "…" else re.escape(line.rstrip()) + r"\n" for line in output)
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed)) is not None
