"""Durable, atomic file writes.

A file is written to a temporary name in the same folder, synced, renamed, and the folder is synced. A reader therefore
sees the old content or the new content, also after the process was killed or the power failed.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically; the content is on disk when this returns. Missing folders are made.

    An error leaves no temporary file and the old content in place. The one exception is a folder that can not be synced
    after the rename: the new content is in place, and OSError says that a power failure may still undo it.
    """
    make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    create_file(draft, content)
    try:
        rename(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def create_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Create a file and sync its content; FileExistsError when the name is taken. An error leaves no file.

    The name itself is on disk once the folder is synced; see `sync_folder`.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_all(descriptor: int, content: bytes) -> None:
    """Write all bytes to an open file; a single `os.write` may take only a part of them."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def rename(source: Path, target: Path) -> None:
    """Rename a file or a folder within one folder and sync that folder; an existing target file is replaced."""
    os.replace(source, target)
    sync_folder(target.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents; each new name is on disk when this returns."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
