"""Signed envelopes in the format DSSE 1.0.0 (https://github.com/secure-systems-lab/dsse).

A signature covers the type of the payload and its bytes. The bytes are verified first, and those same bytes are parsed.
What is read here is narrower than DSSE allows, so that no byte of an envelope is without meaning: the JSON is
canonical, `keyid` is the public key, and every signature must be valid. Tools for DSSE verify these envelopes.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from peak_trade.core.digest import canonical_json
from peak_trade.core.errors import GovernanceError
from peak_trade.core.files import reason_of
from peak_trade.journal.keys import Signer, verify_signature

MAX_BYTES = 128 * 1024
"""Size above which a file is not an envelope or a policy."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A public key, 64 hex digits, and its signature, 128 hex digits."""

    public_key: str
    signature: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """Bytes with their type and signatures; nothing is verified yet."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...] = ()

    def signed_by(self, signer: Signer) -> Envelope:
        """Return the envelope with one more signature; GovernanceError if this key has signed it."""
        if any(each.public_key == signer.public for each in self.signatures):
            raise GovernanceError(f"the key {signer.public[:16]}… has signed this already.")
        content = pre_authentication_encoding(self.payload_type, self.payload)
        return replace(self, signatures=(*self.signatures, Signature(signer.public, signer.sign(content))))

    def encode(self) -> bytes:
        """Return the envelope as canonical JSON, with a newline."""
        signatures = [
            {"keyid": each.public_key, "sig": _base64(bytes.fromhex(each.signature))} for each in self.signatures
        ]
        content = {"payload": _base64(self.payload), "payloadType": self.payload_type, "signatures": signatures}
        return canonical_json(content).encode() + b"\n"

    def signers(self, known: Collection[str]) -> frozenset[str]:
        """Return the distinct public keys whose signatures are valid.

        GovernanceError without a signature, and if a signature is not valid, a second one of its key, or of a key that
        is not known.
        """
        content = pre_authentication_encoding(self.payload_type, self.payload)
        if not self.signatures:
            raise GovernanceError("it has no signature.")
        found: set[str] = set()
        for each in self.signatures:
            name = f"{each.public_key[:16]}…"
            if each.public_key not in known:
                raise GovernanceError(f"the key {name} that signed it is not an approver's key in the policy.")
            if each.public_key in found:
                raise GovernanceError(f"the key {name} signed it twice; each key counts once.")
            if not verify_signature(each.public_key, each.signature, content):
                raise GovernanceError(f"the signature of the key {name} is not valid: the content was changed.")
            found.add(each.public_key)
        return frozenset(found)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed (DSSE protocol, "Signature Definition": PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def decode_envelope(content: bytes, payload_type: str) -> Envelope:
    """Return the envelope in the content of a file; GovernanceError if it is none, or holds another type."""
    if len(content) > MAX_BYTES:
        raise GovernanceError(f"it has {len(content)} bytes; an envelope has at most {MAX_BYTES}.")
    try:
        record = json.loads(content)
        signatures = tuple(
            Signature(each["keyid"], base64.b64decode(each["sig"], validate=True).hex())
            for each in record["signatures"]
        )
        envelope = Envelope(record["payloadType"], base64.b64decode(record["payload"], validate=True), signatures)
        is_envelope = envelope.encode() == content
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_envelope = False
    if not is_envelope:
        raise GovernanceError("it is not a signed envelope, or was changed or cut off after it was signed.")
    if envelope.payload_type != payload_type:
        raise GovernanceError(f"it holds {envelope.payload_type!r:.80}, not {payload_type}.")
    return envelope


def read_small_file(path: Path) -> bytes:
    """Return the bytes of a regular file of at most MAX_BYTES; GovernanceError for any other file, and for a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise GovernanceError(f"{path}: this is not a regular file.")
            content = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise GovernanceError(f"{path}: this is not a regular file.") from None
    except OSError as error:
        if path.is_symlink():
            raise GovernanceError(f"{path}: this is a symbolic link. Put the file itself in its place.") from None
        raise GovernanceError(f"{path}: could not be read ({reason_of(error)}).") from None
    if len(content) > MAX_BYTES:
        raise GovernanceError(f"{path}: this file has more than {MAX_BYTES} bytes.")
    return content


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
