"""The digest of the package follows its source files."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from peak_trade.core import digest

STAMPED = digest._stamped


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two files in the place of the installed one, which are looked at each time."""
    monkeypatch.setattr(digest, "_stamped", STAMPED)
    (tmp_path / "core").mkdir()
    monkeypatch.setattr(digest, "__file__", str(tmp_path / "core" / "digest.py"))
    for name in ("core/digest.py", "part.py"):
        (tmp_path / name).write_text("one = 1\n", encoding="utf-8")
    return tmp_path


CHANGES = {
    "edited": lambda package: (package / "part.py").write_text("one = 22\n", encoding="utf-8"),
    "renamed": lambda package: (package / "part.py").rename(package / "other.py"),
    "added": lambda package: (package / "core" / "part.py").touch(),
    "removed": lambda package: (package / "part.py").unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_source_that_is_edited_renamed_added_or_removed_changes_the_digest(package, change):
    before = digest.package_digest()
    assert digest.package_digest() == before
    change(package)
    assert digest.package_digest() != before


def test_versions_are_read_in_one_thread_at_a_time(monkeypatch):
    reading, most = [], []

    def version(name):
        reading.append(name)
        most.append(len(reading))
        time.sleep(0.002)
        reading.remove(name)
        return name

    monkeypatch.setattr(digest, "version", version)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(digest.installed_version, "abcd")) == list("abcd")
    assert most == [1] * 4
