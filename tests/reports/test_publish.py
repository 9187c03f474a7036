"""A published version has the files of the site and is sealed; an error or Ctrl-C leaves the folder as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ReportError
from peak_trade.reports.project import SITE
from peak_trade.site import publish
from peak_trade.site.build import site_lock
from peak_trade.site.publish import INDEX, MANIFEST, publish_site, verify_publication
from tests.examples import mostly_long
from tests.reports.test_site_build import contents


@pytest.fixture
def root(tmp_path, home, monkeypatch) -> Path:
    """A project with a built site of two pages."""
    folder = tmp_path / "project"
    (folder / SITE / "docs").mkdir(parents=True)
    (folder / SITE / INDEX).write_text('<a href="docs/a.html">a</a>')
    (folder / SITE / "docs" / "a.html").write_text("a")
    (folder / SITE / ".built.json").write_text("{}")
    monkeypatch.chdir(folder)
    return folder


def rebuild(root: Path, text: object) -> None:
    (root / SITE / "docs" / "a.html").write_text(str(text))


def test_a_version_has_every_file_of_the_site_but_hidden_ones(root, tmp_path, capsys):
    assert main(["site", "publish", "--to", str(tmp_path / "new" / "pages")]) == 0
    to = tmp_path / "new" / "pages"
    (version,) = verify_publication(to).versions
    shown = {name: text for name, text in contents(root / SITE).items() if not name.startswith(".")}
    assert {name: text for name, text in contents(to / version).items() if name != MANIFEST} == shown
    assert {path.name for path in to.iterdir()} == {version, INDEX, ".nojekyll"}
    assert f'content="0; url={version}/index.html"' in (to / INDEX).read_text(encoding="utf-8")
    assert f"Version {version} with 2 files is published." in capsys.readouterr().out
    before = contents(to)
    assert main(["site", "publish", "--to", str(to)]) == 0
    assert "is published already; nothing was copied." in capsys.readouterr().out
    assert contents(to) == before
    assert main(["site", "verify", str(to)]) == 0
    assert capsys.readouterr().out == "1 version, each as it was published.\n"


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_newest_versions_are_kept_and_the_index_leads_to_the_last(root, tmp_path, keep):
    made: list[str] = []
    for number in range(4):
        rebuild(root, number)
        made.append(publish_site(tmp_path / "pages", keep).version)
        assert verify_publication(tmp_path / "pages") == publish.Verification(tuple(made[-keep:]), ())
    assert made == sorted(set(made))
    rebuild(root, 0)  # equal to an old version, and published as the newest
    assert publish_site(tmp_path / "pages", keep).is_new


def test_a_checkout_for_github_pages_keeps_its_own_files(root, tmp_path):
    pages = tmp_path / "pages"
    (pages / ".git").mkdir(parents=True)
    (pages / "CNAME").write_text("example.org")
    publish_site(pages)
    assert (pages / "CNAME").read_text() == "example.org"
    assert (pages / ".git").is_dir()


def not_a_folder(root: Path) -> Path:
    (root.parent / "file").write_text("x")
    return root.parent / "file"


def with_a_file(root: Path, name: str) -> Path:
    folder = root.parent / "other"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("x")
    return folder


REFUSED = {
    "a file": (not_a_folder, "is a file. Name a folder."),
    "the project": (lambda root: root, "it holds the project or its workspace."),
    "above the project": (lambda root: root.parent, "it holds the project or its workspace."),
    "the site": (lambda root: root / SITE, "is inside of a folder of the project."),
    "a new folder in reports": (lambda root: root / "reports" / "x", "is inside of a folder of the project."),
    "the workspace": (lambda root: root.parent / "home", "it holds the project or its workspace."),
    "in the workspace": (lambda root: root.parent / "home" / "x", "is inside of a folder of the project."),
    "a folder of the project": (lambda root: root / "reports", "was not written by `peak-trade site publish`."),
    "another file": (lambda root: with_a_file(root, "a.txt"), "a.txt was not written by `peak-trade site publish`."),
    "another index": (lambda root: with_a_file(root, INDEX), "index.html was not written by"),
    "a folder like a version": (
        lambda root: with_a_file(root, "20240601_100000_0123456789abcdef/x"),
        "20240601_100000_0123456789abcdef was not written by",
    ),
}


@pytest.mark.parametrize(("place", "message"), mostly_long(REFUSED.values(), 6), ids=REFUSED)
def test_a_folder_that_is_not_for_versions_is_refused_in_one_line(root, place, message, capsys):
    to = place(root)
    publish_site(root.parent / "warm")  # makes the lock file
    before = contents(root.parent)
    assert main(["site", "publish", "--to", str(to)]) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1
    assert contents(root.parent) == before


def test_a_folder_directly_in_the_project_is_allowed(root):
    assert publish_site(root / "public").is_new
    rebuild(root, 2)
    assert publish_site(root / "public").is_new


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=["Ctrl-C", "full"])
@pytest.mark.parametrize("is_first", [True, False], ids=["new folder", "used folder"])
@pytest.mark.parametrize("n_written", mostly_long(range(4), 2))
def test_an_error_at_any_file_leaves_the_folder_as_it_was(root, tmp_path, monkeypatch, error, is_first, n_written):
    to = tmp_path / "pages"
    if not is_first:
        publish_site(to, keep=1)
        rebuild(root, "changed")
    before = contents(to) if to.exists() else None
    left = [n_written]

    def fail_after(*arguments: object) -> None:
        if not left[0]:
            raise error
        left[0] -= 1
        create(*arguments)

    create = publish.create_file
    monkeypatch.setattr(publish, "create_file" if n_written < 3 else "sync_folder", fail_after)
    left[0] = 0 if n_written == 3 else n_written
    with pytest.raises(type(error)):
        publish_site(to, keep=1)
    assert (contents(to) if to.exists() else None) == before
    monkeypatch.undo()
    monkeypatch.chdir(root)
    assert publish_site(to, keep=1).is_new
    assert verify_publication(to).faults == ()


def test_the_index_leads_to_a_whole_version_although_it_could_not_be_written(root, tmp_path, monkeypatch):
    to = tmp_path / "pages"
    publish_site(to, keep=1)
    index = (to / INDEX).read_bytes()
    rebuild(root, "changed")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish, "write_text", fail)
    with pytest.raises(OSError, match="No space"):
        publish_site(to, keep=1)
    assert (to / INDEX).read_bytes() == index
    old, _new = verify_publication(to).versions
    assert old.encode() in index


CHANGES = {
    "changed": (lambda folder: (folder / "docs" / "a.html").write_text("b"), "docs/a.html was changed."),
    "added": (lambda folder: (folder / "docs" / "b.html").write_text("b"), "docs/b.html was added."),
    "removed": (lambda folder: (folder / "docs" / "a.html").unlink(), "docs/a.html is missing."),
    "manifest removed": (lambda folder: (folder / MANIFEST).unlink(), "manifest.json is missing or unreadable."),
    "manifest changed": (
        lambda folder: (folder / MANIFEST).write_text(json.dumps({"files": {"docs/a.html": "0"}})),
        "manifest.json is not the one that this version was sealed with.",
    ),
    "renamed": (
        lambda folder: folder.rename(folder.with_name("20240601_100000_0123456789abcdef")),
        "manifest.json is not the one that this version was sealed with.",
    ),
}


@pytest.mark.parametrize(("change", "fault"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_a_version_is_named(root, tmp_path, capsys, change, fault):
    version = publish_site(tmp_path / "pages").version
    change(tmp_path / "pages" / version)
    assert main(["site", "verify", str(tmp_path / "pages")]) == 1
    assert fault in capsys.readouterr().out


def test_an_index_that_leads_elsewhere_is_named(root, tmp_path):
    publish_site(tmp_path / "pages")
    (tmp_path / "pages" / INDEX).unlink()
    (fault,) = verify_publication(tmp_path / "pages").faults
    assert fault.startswith("index.html does not lead to ")


def test_a_damaged_newest_version_is_published_again(root, tmp_path):
    first = publish_site(tmp_path / "pages").version
    (tmp_path / "pages" / first / INDEX).write_text("x")
    again = publish_site(tmp_path / "pages")
    assert again.is_new
    assert again.version[-16:] == first[-16:]
    assert again.version > first


def test_a_clock_that_is_behind_gives_a_later_version_all_the_same(root, tmp_path):
    last = publish_site(tmp_path / "pages").version
    ahead = last.replace(last[:15], "29991231_235959")
    (tmp_path / "pages" / last).rename(tmp_path / "pages" / ahead)
    rebuild(root, "changed")
    assert publish_site(tmp_path / "pages").version.startswith("30000101_000000_")


def test_a_site_with_faults_is_not_published(root, tmp_path):
    rebuild(root, '<a href="no.html">no</a> <a href="nor.html">no</a>')
    with pytest.raises(ReportError, match=r"docs/a\.html: it links to no\.html.* \(and 1 more\)"):
        publish_site(tmp_path / "pages")
    assert not (tmp_path / "pages").exists()


def test_a_site_that_is_not_built_and_a_folder_without_versions_are_one_line(root, tmp_path, capsys):
    assert main(["site", "verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"peak-trade: {tmp_path}: there is no published version. Publish with `peak-trade site publish --to DIR`.\n"
    )
    shutil.rmtree(root / SITE)
    assert main(["site", "publish", "--to", str(tmp_path / "pages")]) == 2
    assert "Build the site with `peak-trade site build`." in capsys.readouterr().err


def test_nothing_is_published_while_the_site_is_being_built(root, tmp_path):
    with site_lock(root), pytest.raises(ReportError, match="the site is being built or published"):
        publish_site(tmp_path / "pages")
    assert not (tmp_path / "pages").exists()
