"""Optional packages: which extra of peak_trade installs each, and the check that a part makes before it needs one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from peak_trade.core.errors import ConfigError

EXTRAS: Mapping[str, str] = {
    "distributed": "dask",
    "fastapi": "server",
    "ipykernel": "lab",
    "mlflow": "lab",
    "nbclient": "lab",
    "nbconvert": "lab",
    "nbformat": "lab",
    "optuna": "optuna",
    "papermill": "lab",
    "prometheus_client": "observability",
    "starlette": "server",
    "uvicorn": "server",
    "vectorbt": "lab",
    "yaml": "lab",
}
"""Modules that the core does without, and the extra that installs each; `yaml` is in `observability`, too."""


def require(what: str, *modules: str, extra: str = "") -> None:
    """Raise ConfigError unless each module can be imported; nothing is imported.

    Parameters
    ----------
    what : str
        What needs the modules, as the subject of the message.
    modules : str
        Names of EXTRAS.
    extra : str
        The extra that the message names; by default that of the first missing module.

    Raises
    ------
    ConfigError
        If a module is missing. The message has the command that installs it.

    """
    for name in modules:
        if find_spec(name) is None:
            raise ConfigError(
                f'{what} needs the package {name}. Install it with `pip install "peak-trade[{extra or EXTRAS[name]}]"`.'
            )
