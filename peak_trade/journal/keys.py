"""The Ed25519 key of a workspace, which signs the checkpoints of its journals."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Protocol

from peak_trade.core.errors import SessionError
from peak_trade.core.files import create_file, make_folder, read_bytes, sync_folder, write_text

PRIVATE_NAME = "journal.pem"
PUBLIC_NAME = "journal.pub"


class Signer(Protocol):
    """A signer of bytes."""

    @property
    def public(self) -> str:
        """Public key, 64 hex digits."""

    def sign(self, content: bytes) -> str:
        """Return the signature, 128 hex digits."""


class WorkspaceKey:
    """The private key in a `keys` folder, generated on first use with mode 0600.

    Raises
    ------
    SessionError
        When the file holds no Ed25519 key, or the public key in the folder belongs to another private key: signatures
        would not verify in this workspace.

    """

    def __init__(self, keys: Path) -> None:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        path, known = keys / PRIVATE_NAME, read_public_key(keys)
        if not path.exists():
            if known is not None:
                raise SessionError(
                    f"{path} is missing, but its public key exists. Put it back, or move {PUBLIC_NAME} away too: the "
                    f"next run generates a new pair, and old signatures verify with --key {known}."
                )
            _make_key(keys)
        try:
            key = serialization.load_pem_private_key(read_bytes(path), password=None)
        except (OSError, TypeError, ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise SessionError(
                f"{path}: this is not a readable Ed25519 key. Put the right one back, or move it and {PUBLIC_NAME} "
                "away: the next run generates a new pair, and old signatures verify only with --key."
            )
        self._key = key
        self.public = key.public_key().public_bytes_raw().hex()
        if known is None:
            write_text(keys / PUBLIC_NAME, self.public + "\n")
        elif known != self.public:
            raise SessionError(
                f"{keys / PUBLIC_NAME} is not the public key of {PRIVATE_NAME}. Put the right pair back, or move both "
                f"away: the next run generates a new pair, and old signatures verify with --key {known}."
            )

    def sign(self, content: bytes) -> str:
        """Return the signature, 128 hex digits."""
        return self._key.sign(content).hex()


def read_public_key(keys: Path) -> str | None:
    """Return the public key in a `keys` folder, 64 hex digits, or None without a file; SessionError for other text."""
    path = keys / PUBLIC_NAME
    if not path.exists():
        return None
    try:
        text = read_bytes(path).decode("ascii").strip()
    except (OSError, ValueError):
        text = ""
    if not is_public_key(text):
        raise SessionError(
            f"{path}: this is not 64 hex digits. Move it away; the next run derives it from {PRIVATE_NAME}."
        )
    return text.lower()


def is_public_key(text: str) -> bool:
    """Return whether a text is 64 hex digits."""
    return re.fullmatch(r"[0-9a-fA-F]{64}", text) is not None


def verify_signature(public: str, signature: str, content: bytes) -> bool:
    """Return whether a signature of these bytes is valid under the public key `public`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _make_key(keys: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    make_folder(keys)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    draft = keys / f"{PRIVATE_NAME}.{secrets.token_hex(4)}"
    create_file(draft, pem, mode=0o600)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, keys / PRIVATE_NAME)
    finally:
        draft.unlink()
    sync_folder(keys)
