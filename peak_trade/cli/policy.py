"""`peak-trade policy`: sign and adopt the policy of the live-execution gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError
from peak_trade.data.workspace import workspace

if TYPE_CHECKING:
    from peak_trade.governance.policy import PolicyFile
    from peak_trade.governance.signing import SignedFile

app = verb_app()

PolicyPath = Annotated[Path, typer.Argument(metavar="FILE", help="Policy, such as config/live_policies.toml.")]


@app.command()
def adopt(
    file: PolicyPath,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Name of the person, for the record.")] = "",
    as_json: options.AsJson = False,
) -> None:
    """Adopt a policy in this workspace.

    The first version is taken as it is, with its keys. Each later version is one higher and has the signatures of
    approvers of the version in force; see `peak-trade policy sign`.

    \b
    Example:
        peak-trade policy adopt config/live_policies.toml --by ada

    Exits 0, or 2 when the policy is not adopted.
    """
    from peak_trade.governance.log import GovernanceLog
    from peak_trade.governance.signing import adopt_policy

    adopted = adopt_policy(file, by, GovernanceLog(workspace()))
    output.show(adopted, as_json, _adopted_page, _adopted_content)


@app.command()
def sign(file: PolicyPath, key: options.ApproverKeys = None, as_json: options.AsJson = False) -> None:
    """Sign the next version of the policy.

    The signatures are written next to the file and are valid for its bytes as they are.

    \b
    Example:
        peak-trade policy sign config/live_policies.toml --key ~/keys/ada.pem

    Exits 0 when it has the signatures that it needs, 1 when it needs more, 2 on bad input.
    """
    from peak_trade.governance.signing import sign_policy

    if not key:
        raise ConfigError("no key was given. Name the file of an approver's key with --key.")
    for each in key:
        signed = sign_policy(file, options.approver_key(each), workspace())
    output.show(signed, as_json, _signed_page, _signed_content)
    if signed.n_missing:
        raise typer.Exit(1)


def _adopted_page(adopted: PolicyFile) -> output.Page:
    policy = adopted.policy
    yield f"Version {policy.version} of the policy is in force; its digest is {adopted.digest}."
    yield output.Table(("approver", "public key"), [(each.name, each.public_key) for each in policy.approvers])
    rules = policy.approvals
    yield f"A session at a sandbox needs {rules.testnet} of these keys, a change of the policy {rules.policy_change}."


def _adopted_content(adopted: PolicyFile) -> dict[str, object]:
    return {"digest": adopted.digest, "policy": adopted.policy.model_dump(mode="json")}


def _signed_page(signed: SignedFile) -> output.Page:
    yield f"{signed.path}: signed by {', '.join(signed.signers)}."
    if signed.n_missing:
        yield f"Signatures that are missing: {signed.n_missing}."


def _signed_content(signed: SignedFile) -> dict[str, object]:
    return {"file": str(signed.path), "signers": list(signed.signers), "n_missing": signed.n_missing}
