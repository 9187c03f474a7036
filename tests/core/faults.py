"""A file layer that fails at a chosen system call after it did half of its work."""

from __future__ import annotations

import os
import stat

CALLS = ("open", "write", "fsync", "close", "replace")


class Calls:
    """Watches the system calls of a write, and fails at one of them after it did half of its work."""

    def __init__(self, patch, fails_at=-1, error=OSError):
        self.seen, self.fails_at, self.error = [], fails_at, error
        self.true = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            patch.setattr(os, name, lambda *args, name=name, **options: self.call(name, *args, **options))

    def call(self, name, *args, **options):
        is_failing = len(self.seen) == self.fails_at
        self.seen.append((name, self.what(name, args[0])))
        if not is_failing:
            return self.true[name](*args, **options)
        if name == "write":
            self.true[name](args[0], args[1][: len(args[1]) // 2])
        elif name == "close":
            self.true[name](*args)
        raise self.error

    def what(self, name, target):
        if name in ("open", "replace"):
            return str(target)
        status = os.fstat(target)
        return "folder" if stat.S_ISDIR(status.st_mode) else status.st_size
