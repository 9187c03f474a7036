"""Programs of Prometheus, Alertmanager and Compose that tests call where they are installed."""

from __future__ import annotations

import shutil
import subprocess

import pytest

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "docker-compose": "docker-compose",
}
"""Program, and the Debian package that has it."""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return the mark that skips a test where a program is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    packages = " ".join(sorted({PACKAGES[program] for program in missing}))
    return pytest.mark.skipif(
        bool(missing), reason=f"{', '.join(missing)} is not installed: apt-get install {packages}"
    )


def run(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its output and exit code."""
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
