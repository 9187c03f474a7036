"""`peak-trade approve`: sign, countersign and revoke approvals, and make the key of an approver."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError
from peak_trade.data.workspace import package_data, workspace

if TYPE_CHECKING:
    from peak_trade.governance.signing import SignedApproval

app = verb_app()


@app.command()
def approve(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Filled-in template, or an approval to sign as well.")
    ] = None,
    key: options.ApproverKeys = None,
    new_key: Annotated[
        Path | None,
        typer.Option("--new-key", metavar="FILE", help="Make a key in a new file, and print its public key."),
    ] = None,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Ask for a passphrase for the new key.")] = False,
    revoke: Annotated[
        str | None, typer.Option("--revoke", metavar="ID", help="Revoke the approval of this id.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Person who revokes, for the record.")] = None,
    reason: Annotated[str, typer.Option(help="Reason of the revocation, for the record.")] = "",
    as_json: options.AsJson = False,
) -> None:
    """Sign or revoke the approval of a session at a sandbox.

    The template config/governance/live_approval_template.toml explains every value. The signed approval is written to
    the workspace. With two approvers, name both keys, or let the second one sign the written file.

    \b
    Examples:
        peak-trade approve --new-key ~/keys/ada.pem --passphrase
        peak-trade approve my_session.toml --key ~/keys/ada.pem
        peak-trade approve .peak_trade/approvals/0f3c.json --key ~/keys/bob.pem
        peak-trade approve --revoke 0f3c9a51d2b84e67a1c05f7e93d6b820 --by ada --reason "wrong size"

    Exits 0 when it is signed by all whom it needs, revoked or made, 1 when it needs more signatures, 2 on bad input.
    """
    if sum(each is not None for each in (file, new_key, revoke)) != 1:
        raise ConfigError("give one of FILE, --new-key and --revoke. See `peak-trade approve --help`.")
    if new_key is not None:
        _make_key(new_key, passphrase, as_json)
    if revoke is not None:
        _revoke(revoke, by, reason, as_json)
    if file is not None:
        _sign(file, key or [], as_json)


def _make_key(path: Path, asks: bool, as_json: bool) -> None:
    from peak_trade.governance.keys import make_approver_key

    passphrase = options.ask_passphrase("Passphrase of the new key", is_new=True) if asks else None
    public = make_approver_key(path.expanduser(), passphrase, [workspace(), package_data()])
    output.show(
        {"file": str(path), "public_key": public},
        as_json,
        lambda made: [
            f"The key is in {made['file']}; keep it there, and give nobody a copy.",
            "List its public key in the policy:",
            f'public_key = "{made["public_key"]}"',
        ],
        lambda made: made,
    )


def _revoke(approval_id: str, by: str | None, reason: str, as_json: bool) -> None:
    from peak_trade.governance.log import GovernanceLog

    if by is None or not by.strip():
        raise ConfigError("a revocation names the person who revokes. Give --by NAME.")
    GovernanceLog(workspace()).revoke(approval_id, by, reason)
    output.show(
        {"approval_id": approval_id, "revoked_by": by},
        as_json,
        lambda done: [f"Approval {done['approval_id']} is revoked; its session reduces its positions within one bar."],
        lambda done: done,
    )


def _sign(path: Path, keys: list[Path], as_json: bool) -> None:
    from peak_trade.governance import signing

    if not keys:
        raise ConfigError("no key was given. Name the file of an approver's key with --key.")
    signers = [options.approver_key(each) for each in keys]
    signed = signing.approve(path, signers, workspace(), time.time_ns())
    output.show(signed, as_json, _page, _content)
    if signed.file.n_missing:
        raise typer.Exit(1)


def _page(signed: SignedApproval) -> output.Page:
    approval, scope = signed.approval, signed.approval.scope
    yield f"Approval {approval.approval_id}, signed by {', '.join(signed.file.signers)}: {signed.file.path}"
    strategies = ", ".join(f"{each.name} {each.parameters}" for each in scope.strategies)
    rows = [
        ("stage", scope.stage),
        ("strategies", strategies),
        ("symbols", ", ".join(scope.symbols)),
        ("largest order", f"{approval.max_notional:g} in quote currency"),
        ("valid", f"{approval.not_before} to {approval.expires}"),
        ("code", scope.code),
        ("config", scope.config),
        ("policy", approval.policy),
        ("reason", approval.reason),
    ]
    yield output.Table(("it binds", "value"), rows)
    if signed.file.n_missing:
        yield f"Signatures that are missing: {signed.file.n_missing}. See `peak-trade approve --help`."


def _content(signed: SignedApproval) -> dict[str, object]:
    return {
        "approval": signed.approval.model_dump(mode="json"),
        "file": str(signed.file.path),
        "signers": list(signed.file.signers),
        "n_missing": signed.file.n_missing,
    }
