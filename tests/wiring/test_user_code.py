"""Code of a user: every module that its parts reach by imports, and every name of a notebook's cells that they use."""

from __future__ import annotations

import importlib
import linecache
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from peak_trade.wiring.strategies import make_strategy
from peak_trade.wiring.user_code import UserCode, user_code
from peak_trade.wiring.user_modules import package_versions, reached_modules
from tests.examples import mostly_long

STRATEGY = """
{imports}
from peak_trade.strategies.base import Strategy


class Own(Strategy):
    @property
    def warm_up(self):
        return 0

    def exposure(self, bars):
        {body}
        return bars["close"].to_numpy() * 0.0 + {value}
"""


def strategy(imports: str, value: str, body: str = "pass") -> str:
    return STRATEGY.format(imports=imports, value=value, body=body)


REACHED = {
    "a function of a module": ({"idea_h.py": "def f(): return 1\n"}, strategy("from idea_h import f", "f()")),
    "a module by another name": ({"idea_h.py": "X = 1\n"}, strategy("import idea_h as h", "h.X")),
    "a helper of a helper": (
        {"idea_a.py": "from idea_h import X\n", "idea_h.py": "X = 1\n"},
        strategy("import idea_a", "idea_a.X"),
    ),
    "a module within a package": (
        {"idea_p/__init__.py": "", "idea_p/h.py": "X = 1\n"},
        strategy("import idea_p.h", "idea_p.h.X"),
    ),
    "a module that a package gives": (
        {"idea_p/__init__.py": "", "idea_p/h.py": "X = 1\n"},
        strategy("from idea_p import h", "h.X"),
    ),
    "the package that holds a module": (
        {"idea_p/h.py": "X = 2\n", "idea_p/__init__.py": "X = 1\n"},
        strategy("from idea_p.h import X", "X"),
    ),
    "a relative import": (
        {"idea_p/__init__.py": "", "idea_p/a.py": "from . import h\nX = h.X\n", "idea_p/h.py": "X = 1\n"},
        strategy("from idea_p.a import X", "X"),
    ),
    "a relative import of a parent": (
        {
            "idea_p/__init__.py": "",
            "idea_p/q/__init__.py": "",
            "idea_p/q/a.py": "from ..h import X\n",
            "idea_p/h.py": "X = 1\n",
        },
        strategy("from idea_p.q.a import X", "X"),
    ),
    "a package without __init__": ({"idea_n/h.py": "X = 1\n"}, strategy("from idea_n import h", "h.X")),
    "all names of a package": (
        {"idea_p/__init__.py": '__all__ = ["h"]\n', "idea_p/h.py": "X = 1\n"},
        strategy("from idea_p import *", "h.X"),
    ),
    "an import within a function": (
        {"idea_h.py": "X = 1\n"},
        strategy("", "X", "from idea_h import X"),
    ),
    "an import that may fail": (
        {"idea_h.py": "X = 1\n"},
        strategy("try:\n    from idea_h import X\nexcept ImportError:\n    X = 0", "X"),
    ),
    "an import by a function": (
        {"idea_h.py": "X = 1\n"},
        strategy("import importlib", 'importlib.import_module("idea_h").X'),
    ),
    "a base class": (
        {"idea_h.py": "class Base:\n    X = 1\n"},
        strategy("from idea_h import Base", "Base.X"),
    ),
}
"""Layouts of files, the last of which is changed, and the module of the strategy that reaches it."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    _forget()


def _forget() -> None:
    for name in [each for each in sys.modules if each.startswith("idea")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def write(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")


def code_of(name: str = "idea:Own") -> UserCode:
    """Return the code of a strategy as a new process finds it."""
    _forget()
    return user_code([make_strategy(name)])


@pytest.mark.parametrize("layout", mostly_long(REACHED, 7))
def test_a_module_that_a_strategy_reaches_by_imports_decides_its_code(layout: str, place: Path) -> None:
    files, text = REACHED[layout]
    write(place, files | {"idea.py": text, "idea_unrelated.py": "X = 1\n"})
    before = code_of()
    assert before.without_source == ()
    assert code_of().digest() == before.digest()
    importlib.import_module("idea_unrelated")
    assert user_code([make_strategy("idea:Own")]).digest() == before.digest()
    changed = list(files)[-1]
    write(place, {changed: files[changed].replace("1", "7"), "idea_unrelated.py": "X = 2\n"})
    after = code_of()
    assert after.digest() != before.digest()
    assert after.modules.keys() == before.modules.keys()


def test_imports_for_types_alone_and_the_place_of_the_files_do_not_decide_the_code(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import idea_types"
    files = {"idea.py": strategy(only_types, "1.0"), "idea_types.py": "X = 1\n"}
    write(place, files)
    before = code_of()
    assert "idea_types" not in before.modules
    other = place / "elsewhere" / "deeper"
    write(other, files)
    (place / "idea.py").unlink()
    monkeypatch.syspath_prepend(other)
    after = code_of()
    assert Path(str(sys.modules["idea"].__file__)).is_relative_to(other)
    assert after.digest() == before.digest()


def test_an_installed_package_counts_with_its_version_and_is_not_followed(place: Path) -> None:
    write(place, {"idea.py": strategy("import yaml", "1.0")})
    code = code_of()
    assert set(code.modules) == {"idea"}
    assert code.packages == {"pyyaml": importlib.import_module("importlib.metadata").version("pyyaml")}


def test_a_package_that_is_installed_in_editable_mode_is_a_users(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = place / "src"
    write(
        source,
        {"idea_e/__init__.py": "", "idea_e/own.py": strategy("from idea_e.h import X", "X"), "idea_e/h.py": "X = 1"},
    )
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(place)])

    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            found = source / "idea_e" / "__init__.py"
            return importlib.util.spec_from_file_location(name, found) if name == "idea_e" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    before = code_of("idea_e.own:Own")
    assert set(before.modules) == {"idea_e", "idea_e.own", "idea_e.h"}
    write(source, {"idea_e/h.py": "X = 2"})
    assert code_of("idea_e.own:Own").digest() != before.digest()


def test_code_that_no_import_names_makes_a_run_not_rerunnable(place: Path) -> None:
    write(place, {"idea.py": strategy("import importlib\nNAME = 'idea_h'", "importlib.import_module(NAME).X")})
    code = code_of()
    assert code.not_rerunnable == (
        "This run is not rerunnable: idea, line 14: import_module runs code that no import names."
    )


def test_a_module_that_is_edited_after_its_import_counts_as_imported(place: Path) -> None:
    write(place, {"idea.py": strategy("from idea_h import X", "X"), "idea_h.py": "X = 1\n"})
    before = code_of()
    write(place, {"idea_h.py": "X = 2\n"})
    edited = user_code([make_strategy("idea:Own")])
    assert edited.digest() == before.digest()
    assert edited.notes == ("The module idea_h was edited after its import: this run has it as imported.",)
    assert reached_modules(["idea"], as_imported=False).sources["idea_h"] == "X = 2\n"
    importlib.reload(sys.modules["idea_h"])
    reloaded = user_code([make_strategy("idea:Own")])
    assert reloaded.digest() != before.digest()
    assert before.notes == reloaded.notes == ()


OWN = """
class Own(Strategy):
    {attribute}
    @property
    def warm_up(self):
        return 0
    {decorator}
    def exposure(self, bars):
        return bars["close"].to_numpy() * 0.0 + {value}
"""
START = """import numpy as np
import pandas as pd
from peak_trade.strategies.base import Strategy
from typing import ClassVar
"""


def own(value: str = "1.0", attribute: str = "pass", decorator: str = "pass") -> str:
    return OWN.format(value=value, attribute=attribute, decorator=decorator)


WRAPPER = """import functools
def twice(f):
    @functools.wraps(f)
    def g(*a): return f(*a) * {factor}
    return g
"""
DATACLASS = "from dataclasses import dataclass, field\n@dataclass\nclass P:\n    x: object = {}\n"
CELLS = {
    "the class": (own("1.0"), own("2.0"), []),
    "a constant": ("LAG = 1\n", "LAG = 2\n", [own("LAG")]),
    "a function": ("def f(): return 1\n", "def f(): return 2\n", [own("f()")]),
    "a function of a function": ("def g(): return 1\n", "def g(): return 2\n", ["def f(): return g()\n", own("f()")]),
    "a constant of a function": ("LAG = 1\n", "LAG = 2\n", ["f = lambda: LAG\n", own("f()")]),
    "an array": ("W = np.array([1.0, 2.0])\n", "W = np.array([1.0, 3.0])\n", [own("W[1]")]),
    "a frame": ("P = pd.DataFrame({'a': [1.0]})\n", "P = pd.DataFrame({'a': [2.0]})\n", [own("P['a'].iloc[0]")]),
    "an index": ("P = pd.Series([1.0], [1])\n", "P = pd.Series([1.0], [2])\n", [own("P.index[0]")]),
    "a dict": ("D = {'a': [1, {2}]}\n", "D = {'a': [1, {3}]}\n", [own("D['a'][0]")]),
    "a rule in a dict": ("def f(): return 1\n", "def f(): return 2\n", ["D = {'a': f}\n", own("D['a']()")]),
    "a time": ("T = pd.Timestamp('2024-01-01')\n", "T = pd.Timestamp('2024-01-02')\n", [own("T.day")]),
    "a default value": ("LAG = 1\n", "LAG = 2\n", ["def f(lag=LAG): return lag\n", own("f()")]),
    "a class attribute": ("LAG = 1\n", "LAG = 2\n", [own("1.0", "lag: ClassVar = LAG")]),
    "a field's default": ("LAG = 1\n", "LAG = 2\n", [own("self.lag", "lag: int = LAG")]),
    "a decorator": (
        "def twice(f): return lambda *a: f(*a) * 2\n",
        "def twice(f): return lambda *a: f(*a) * 3\n",
        [own("1.0", decorator="@twice")],
    ),
    "a base class": (
        "class Base(Strategy):\n    def level(self): return 1\n",
        "class Base(Strategy):\n    def level(self): return 2\n",
        [own("self.level()").replace("Own(Strategy)", "Own(Base)")],
    ),
    "what a closure holds": (
        "def make(n):\n    def f(): return n\n    return f\nf = make(1)\n",
        "def make(n):\n    def f(): return n\n    return f\nf = make(2)\n",
        [own("f()")],
    ),
    "an object of a class": (
        "class Model:\n    def __init__(self, n): self.n = n\nM = Model(1)\n",
        "class Model:\n    def __init__(self, n): self.n = n\nM = Model(2)\n",
        [own("M.n")],
    ),
    "a partial function": (
        "from functools import partial\nf = partial(max, 1)\n",
        "from functools import partial\nf = partial(max, 2)\n",
        [own("f(0)")],
    ),
    "another module of that name": ("import math as m\n", "import cmath as m\n", [own("m.pi")]),
    "a regular expression": (
        "import re\nR = re.compile('a')\n",
        "import re\nR = re.compile('b')\n",
        [own("R.groups")],
    ),
    "a dataclass": (DATACLASS.format(1), DATACLASS.format(2), [own("P().x")]),
    "a default of a dataclass": (
        DATACLASS.format("field(default_factory=lambda: [1])"),
        DATACLASS.format("field(default_factory=lambda: [2])"),
        [own("P().x[0]")],
    ),
    "a made dataclass": (
        "from dataclasses import make_dataclass\nP = make_dataclass('P', [('x', int, 1)])\n",
        "from dataclasses import make_dataclass\nP = make_dataclass('P', [('x', int, 2)])\n",
        [own("P().x")],
    ),
    "a named tuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'a b')\n",
        "from collections import namedtuple\nP = namedtuple('P', 'b a')\n",
        [own("P(1, 2).a")],
    ),
    "a class of named tuples": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int = 1\n",
        "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int = 2\n",
        [own("P().x")],
    ),
    "a wrapper": (
        WRAPPER.format(factor=1) + "@twice\ndef f(): return 1\n",
        WRAPPER.format(factor=3) + "@twice\ndef f(): return 1\n",
        [own("f()")],
    ),
    "what a wrapper wraps": (
        WRAPPER.format(factor=1) + "@twice\ndef f(): return 1\n",
        WRAPPER.format(factor=1) + "@twice\ndef f(): return 2\n",
        [own("f()")],
    ),
    "what a library wraps": (
        "from contextlib import contextmanager\n@contextmanager\ndef f(): yield 1\n",
        "from contextlib import contextmanager\n@contextmanager\ndef f(): yield 2\n",
        [own("f().__enter__()")],
    ),
    "a rule that is registered later": (
        "from functools import singledispatch\n@singledispatch\ndef f(x): return 0\n",
        "from functools import singledispatch\n@singledispatch\ndef f(x): return 1\n",
        ["@f.register\ndef _(x: int): return 2\n", own("f(1)")],
    ),
    "an attribute that is set later": ("class C: pass\nC.x = 1\n", "class C: pass\nC.x = 2\n", [own("C.x")]),
    "a default of a dict": (
        "from collections import defaultdict\nD = defaultdict(lambda: 1)\n",
        "from collections import defaultdict\nD = defaultdict(lambda: 2)\n",
        [own("D['a']")],
    ),
    "a mask": (
        "A = np.ma.array([1.0, 2.0], mask=[0, 1])\n",
        "A = np.ma.array([1.0, 2.0], mask=[1, 0])\n",
        [own("A.sum()")],
    ),
    "times of a zone": (
        "T = pd.DatetimeIndex(['2024-01-01'], tz='UTC')\n",
        "T = pd.DatetimeIndex(['2024-01-01'], tz='Asia/Tokyo')\n",
        [own("T[0].utcoffset().total_seconds()")],
    ),
    "one of two objects": ("A, B = slice(1), slice(2)\n", "A, B = slice(3), slice(2)\n", [own("A.stop")]),
    "one of two functions": (
        "from numpy import mean, std\nX = 1\n",
        "from numpy import mean, std\nX = 2\n",
        [own("mean([X]) + std([X])")],
    ),
    "a comprehension": (
        "L = [np.float64(i) for i in range(3)]\n",
        "L = [np.float64(i) for i in range(4)]\n",
        [own("L[0]")],
    ),
}
"""A cell, the cell after a change, and the cells that follow it."""

UNKNOWN = {
    "a lock": "import threading\nX = [threading.Lock()] * 1\n",
    "a generator": "X = (each for each in [1])\n",
    "a compiled format": "import struct\nX = struct.Struct('1s')\n",
    "by another name": "Y = 1\ndef make(): yield Y\nX = make()\n",
}
"""Cells with a value whose content is not known."""


def notebook(cells: list[str], monkeypatch: pytest.MonkeyPatch, *, with_source: bool = True) -> UserCode:
    """Execute cells as a kernel does, and return the code of the class Own."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    linecache.clearcache()
    for number, text in enumerate(cells):
        name = f"/tmp/ipykernel_1/{time.monotonic_ns()}{number}.py"
        if with_source:
            linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
        exec(compile(text, name, "exec", dont_inherit=True), vars(module))
    return user_code([vars(module)["Own"]()])


@pytest.mark.parametrize("with_source", mostly_long([True, False], 1), ids=["", "without source"])
@pytest.mark.parametrize("case", mostly_long(CELLS, 8))
def test_every_name_that_a_class_of_a_cell_uses_decides_its_code(
    case: str, with_source: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, changed, others = CELLS[case]
    unrelated = ["bars = [1]\nresult = object()\n", "bars = [2]\nresult = print\n"]
    cells = [[START, first, text, *others] for text in unrelated]
    one, again = (notebook(each, monkeypatch, with_source=with_source) for each in cells)
    other = notebook([START, changed, *others], monkeypatch, with_source=with_source)
    assert one.digest() == again.digest() != other.digest()
    assert bool(one.not_rerunnable) == (not with_source), one.not_rerunnable


@pytest.mark.parametrize("case", mostly_long(CELLS, 5))
def test_the_statements_of_the_cells_define_the_same_code_again(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, others = CELLS[case]
    code = notebook([START, first, *others], monkeypatch)
    again = notebook(list(code.cells.values()), monkeypatch)
    assert again.digest() == code.digest()


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_value_of_unknown_content_counts_with_its_statement_and_is_not_rerunnable(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = UNKNOWN[case]
    one, again, other = (
        notebook([START, text, own("len([X])")], monkeypatch) for text in (first, first, first.replace("1", "2"))
    )
    assert one.digest() == again.digest() != other.digest()
    assert "This run is not rerunnable: the content of X is not known, a value of " in one.not_rerunnable


@pytest.mark.parametrize(
    "text",
    mostly_long(
        ["[i / 3 for i in range(5_000)]", "[(i, str(i)) for i in range(5_000)]", "dict.fromkeys(range(5_000), -0.0)"], 1
    ),
    ids=["numbers", "pairs", "a dict"],
)
def test_many_numbers_and_texts_of_a_cell_count_with_one_digest(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = notebook([START, f"L = {text}\n", own("len(L)")], monkeypatch)
    assert len(str(code.contents["__main__:L ="])) < 100
    changed = f"L = {text}\nL.clear()\n"
    assert notebook([START, changed, own("len(L)")], monkeypatch).digest() != code.digest()
    assert notebook(list(code.cells.values()), monkeypatch).digest() == code.digest()


@pytest.mark.parametrize(
    ("changed", "is_other"),
    [
        ("X = 2\ndef f(): return X\n", True),
        ("X = 1\ndef f(): return X + 0\n", True),
        ('# the level\nX = 1\n\n\ndef f():\n    """Return the level."""\n    return X\n', False),
    ],
    ids=["a constant", "a function", "comments"],
)
def test_what_a_helper_executes_makes_another_trial_and_a_comment_does_not(
    changed: str, is_other: bool, place: Path
) -> None:
    write(place, {"idea.py": strategy("from idea_h import f", "f()"), "idea_h.py": "X = 1\ndef f(): return X\n"})
    before = code_of()
    write(place, {"idea_h.py": changed})
    after = code_of()
    assert after.digest() != before.digest()
    assert (after.executed_digest() != before.executed_digest()) == is_other


@pytest.mark.parametrize("case", mostly_long(CELLS, 6))
def test_what_a_cell_executes_makes_another_trial_and_a_comment_does_not(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, changed, others = CELLS[case]
    one = notebook([START, first, *others], monkeypatch).executed_digest()
    other = notebook([START, changed, *others], monkeypatch).executed_digest()
    commented = [f"{each.rstrip()}  # a comment\n" for each in others]
    assert notebook([START, first, *commented], monkeypatch).executed_digest() == one != other


def test_code_of_a_cell_reaches_modules_from_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place, {"idea_h.py": "X = 1\ndef f(): return X\n", "idea_p/__init__.py": "", "idea_p/q.py": "X = 1\n"})
    cells = [START, "from idea_h import f\nimport idea_p.q\n", own("f() + idea_p.q.X")]
    before = notebook(cells, monkeypatch)
    assert set(before.modules) == {"idea_h", "idea_p", "idea_p.q"}
    for changed in ("idea_h.py", "idea_p/q.py"):
        write(place, {changed: (place / changed).read_text(encoding="utf-8").replace("X = 1", "X = 2")})
        _forget()
        after = notebook(cells, monkeypatch)
        assert after.digest() != before.digest()
        before = after


@pytest.mark.parametrize("with_source", [True, False])
def test_an_import_within_a_function_of_a_cell_decides_its_code(
    with_source: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place, {"idea_h.py": "X = 1\n", "idea_q.py": "from idea_h import X\n"})
    cells = [START, own("X").replace("return bars", "from idea_q import X\n        import numpy\n        return bars")]
    before = notebook(cells, monkeypatch, with_source=with_source)
    assert set(before.modules) == {"idea_h", "idea_q"}
    write(place, {"idea_h.py": "X = 2\n"})
    assert notebook(cells, monkeypatch, with_source=with_source).digest() != before.digest()


SCRIPT = """
import sys
from pathlib import Path
from peak_trade.strategies.base import Strategy
from peak_trade.wiring.user_code import user_code
from idea_h import X, f
SHARE = {share}
HERE = Path(__file__).parent


class Own(Strategy):
    @property
    def warm_up(self):
        return 0

    def exposure(self, bars):
        return bars["close"].to_numpy() * 0.0 + f(X) * SHARE * len(str(__file__))


if __name__ == "__main__":
    code = user_code([Own()])
    print(code.digest(), list(code.cells), list(code.modules), code.not_rerunnable, sep="|")  # {comment}
"""


def write_script(folder: Path, share: str, comment: str) -> Path:
    write(folder, {"study.py": SCRIPT.format(share=share, comment=comment), "idea_h.py": "X = 1\ndef f(x): return x\n"})
    return folder / "study.py"


@pytest.fixture
def run_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[Path], list[str]]]:
    """Run a script as the main module of this process, and return what it prints."""

    def run(script: Path) -> list[str]:
        _forget()
        linecache.clearcache()
        with monkeypatch.context() as patch:
            patch.syspath_prepend(script.parent)
            runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out.strip().split("|")

    yield run
    _forget()


@pytest.mark.parametrize(
    ("folder", "share", "comment", "is_same"),
    [("", "2.0", "once", False), ("elsewhere", "1.0", "another comment", True)],
    ids=["another number", "another place and comment"],
)
def test_a_class_of_a_script_counts_with_the_names_that_it_uses(
    run_script: Callable[[Path], list[str]], tmp_path: Path, folder: str, share: str, comment: str, is_same: bool
) -> None:
    first = run_script(write_script(tmp_path, "1.0", "once"))
    assert first[1:] == ["['SHARE', 'Strategy', 'X', 'f', 'Own']", "['idea_h']", ""]
    after = run_script(write_script(tmp_path / folder, share, comment))
    assert (after == first) == (after[0] == first[0]) == is_same


@pytest.mark.long
def test_a_script_counts_the_same_in_a_process_of_its_own(
    run_script: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    script = write_script(tmp_path, "1.0", "once")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip().split("|") == run_script(script)


def test_modules_of_the_standard_library_list_no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peak_trade.wiring.user_modules._by_module", pytest.fail)
    assert package_versions("functools") == package_versions("collections.abc") == {}
    assert "numpy" in package_versions("numpy.linalg")
