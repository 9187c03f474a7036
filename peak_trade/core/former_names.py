"""Former names of the attributes of results, valid for one version."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, ClassVar


class HasFormerNames:
    """Base of a result whose attributes were renamed: a former name still works and warns.

    `former_names` maps each former name to the current one, which may be dotted. Type checkers do not know former
    names. Remove them with the next version.
    """

    __slots__ = ()
    former_names: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for former, current in cls.former_names.items():
            setattr(cls, former, _former(former, current))


def _former(former: str, current: str) -> property:
    def read(result: object) -> Any:
        warnings.warn(
            f"{type(result).__name__}.{former} is deprecated and will be removed in the next version. Use {current}.",
            DeprecationWarning,
            stacklevel=2,
        )
        return attrgetter(current)(result)

    return property(read, doc=f"Former name of `{current}`.")
