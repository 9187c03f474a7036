"""Processes that are forked from the one of the tests, so that they import nothing again."""

from __future__ import annotations

import multiprocessing
import os
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.context import ForkProcess


def start_forked(work: Callable[[], object]) -> ForkProcess:
    """Start a process that does the work, and return it; sys.exit within the work sets its exit code."""
    process = multiprocessing.get_context("fork").Process(target=work)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, about threads: the work starts none
        process.start()
    return process


def fork(work: Callable[[], object]) -> int:
    """Start a process that does the work, and return its id; it exits with 0, or with 1 after an exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, about threads: the work starts none
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(process: int) -> int:
    """Wait for a forked process and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
