"""Reads of regular files, and durable, atomic writes.

A read of a device or a named pipe could wait or go on without end; it is an OSError. A file is written to a temporary
name in the same folder, synced, renamed, and the folder is synced. A reader therefore sees the old content or the new
content, also after the process was killed or the power failed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_CURRENT_FOLDER, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of renameat2."""


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, with its line ends as they are; see `read_bytes`."""
    return read_bytes(path).decode()


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file; OSError for a folder, a device, a named pipe or a socket."""
    with open_binary(path) as file:
        return file.read()


def open_binary(path: Path) -> BinaryIO:
    """Open a regular file for reading; OSError for a folder, a device, a named pipe or a socket."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without it, opening a named pipe waits for a writer
    try:
        _require_regular(path, os.fstat(descriptor))
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def require_regular(path: Path) -> None:
    """Raise OSError unless a path is a regular file, for code that opens it by name."""
    _require_regular(path, path.stat())


def _require_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "this is a device, a pipe or a socket, not a file", str(path))


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically; the content is on disk when this returns. Missing folders are made.

    A symbolic link stays one, and the file that it names is replaced. Only a regular file is replaced; anything else is
    an OSError. An error leaves no temporary file and the old content in place. The one exception is a folder that can
    not be synced after the rename: the new content is in place, and OSError says that a power failure may still undo
    it.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    make_folder(path.parent)
    with replacing(path) as draft:
        create_file(draft, content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the name of a new file that replaces a file when the block ends; see `write_bytes`.

    The block creates the new file and syncs it. The folder exists.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if path.exists():
        require_regular(path)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield draft
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


def sync_file(path: Path) -> None:
    """Bring the content of a file to disk."""
    sync_folder(path)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all bytes to an open file; a single `os.write` may take only a part of them."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def rename(source: Path, target: Path) -> None:
    """Rename a file or a folder and sync the folder of the new name; an existing target file is replaced."""
    os.replace(source, target)
    sync_folder(target.parent)


def replace_folder(source: Path, target: Path) -> None:
    """Rename a folder to a name that an older folder may have; that one is then removed.

    Both are in one file system. A reader sees the old folder or the new one. Where the system cannot exchange two names
    (other systems than Linux, some network file systems), the target is missing for a moment.
    """
    try:
        target.lstat()
    except FileNotFoundError:
        rename(source, target)
    else:
        old = source
        if not _exchange(source, target):
            old = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
            rename(target, old)
            rename(source, target)
        if old.is_symlink() or not old.is_dir():
            old.unlink()
        else:
            shutil.rmtree(old, ignore_errors=True)
    sync_folder(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step (renameat2, Linux 3.15); False where that is not supported."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_CURRENT_FOLDER, os.fsencode(first), _CURRENT_FOLDER, os.fsencode(second), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(code, os.strerror(code), str(second))


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents; each new name is on disk when this returns."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def copy_into(folder: Path, paths: Iterable[Path]) -> None:
    """Copy files and folders into a folder, which is made if it is missing; the copies are on disk when this returns.

    FileExistsError when a name is taken.
    """
    make_folder(folder)
    for path in paths:
        if path.is_dir():
            copy_into(folder / path.name, path.iterdir())
        else:
            create_file(folder / path.name, read_bytes(path))
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason_of(error: OSError) -> str:
    """Return why a file was refused; of Arrow's errors, the system's words that they wrap."""
    text = error.strerror or str(error)
    return os.strerror(error.errno) if error.errno and "Detail: [errno" in text else text
