"""A decision: the checklist over evidence. It is pure, and recomputed from what the governance log stores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from peak_trade.core.digest import canonical_json, digest_of
from peak_trade.governance.approval import Approval
from peak_trade.governance.evidence import Evidence
from peak_trade.governance.requirements import Case, CheckLine, check_requirements, failed
from peak_trade.governance.state import GovernanceState


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of a checklist.

    `approval` is the verified approval and `envelope` its bytes, where the stage needs one and one was valid.
    """

    evidence: Evidence
    approvals: tuple[bytes, ...]
    now: int
    lines: tuple[CheckLine, ...]
    approval: Approval | None = None
    envelope: bytes | None = None

    @property
    def is_allowed(self) -> bool:
        """Whether every requirement is met."""
        return not self.failed

    @property
    def failed(self) -> tuple[CheckLine, ...]:
        """The lines of the requirements that are not met."""
        return failed(self.lines)

    def digest(self) -> str:
        """Return the SHA-256 of the decision as it is stored."""
        return digest_of(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as plain values, with all from which it is made again."""
        return {
            "is_allowed": self.is_allowed,
            "now": self.now,
            "evidence": self.evidence.model_dump(mode="json"),
            "approvals": [content.decode("latin-1") for content in self.approvals],
            "lines": [asdict(line) for line in self.lines],
        }


def decide(evidence: Evidence, state: GovernanceState, approvals: Sequence[bytes], now: int) -> Decision:
    """Return the decision on a session: allowed if every requirement of its stage is met.

    Parameters
    ----------
    evidence : Evidence
        What was observed. Its scope names the stage.
    state : GovernanceState
        Of the workspace's governance log: the policy in force, drills, revoked and used approvals, clock floor.
    approvals : sequence of bytes
        Contents of the files of approvals, of which one suffices.
    now : int
        Time of the machine's clock, ns UTC.

    """
    case = Case(evidence, state, tuple(approvals), now)
    lines = check_requirements(case)
    found = case.approval() if evidence.scope.stage == "testnet" else ""
    if isinstance(found, str):
        return Decision(evidence, case.approvals, now, lines)
    return Decision(evidence, case.approvals, now, lines, approval=found[1], envelope=found[0])


def recompute(content: str, state: GovernanceState) -> Decision:
    """Return the decision that follows from stored content and the state before its entry.

    It equals the stored one if `canonical_json(decision.to_dict())` equals the content.
    """
    record = json.loads(content)
    evidence = Evidence.parse(record["evidence"], "evidence")
    approvals = [text.encode("latin-1") for text in record["approvals"]]
    return decide(evidence, state, approvals, record["now"])


def is_reproduced(content: str, state: GovernanceState) -> bool:
    """Return whether a stored decision follows from its evidence."""
    return canonical_json(recompute(content, state).to_dict()) == content
