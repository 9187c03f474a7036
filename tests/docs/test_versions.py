"""The version of the package is one number: in its metadata, the command, the documents and the container files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import peak_trade as pt
from tests.docs.test_links import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def found(pattern: str, path: str) -> list[str]:
    return re.findall(pattern, Path(ROOT / path).read_text(encoding="utf-8"))


def test_every_place_has_the_version_of_the_package():
    assert pt.__version__ == VERSION
    assert found(r"Version (\d+\.\d+\.\d+)", "README.md") == [VERSION]
    assert found(r"peak-trade-exporter:(\S+)", "config/observability/compose.yml") == [VERSION]
    assert set(found(r"peak_trade-(\d+\.\d+\.\d+)-py3", "docs/installation.md")) == {VERSION}


def test_container_files_copy_what_exists_and_run_as_another_user_than_root():
    demo = (ROOT / "config" / "demo.Dockerfile").read_text(encoding="utf-8")
    assert "\nUSER 1000\n" in demo
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-", demo, re.MULTILINE)
    targets = re.findall(r"make (\w+)", demo.partition("RUN make")[1] + demo.partition("RUN make")[2])
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == ["env", "demo"]
    assert all(f"\n{target}: " in makefile for target in targets)
