"""The workspace's Ed25519 key: it signs the checkpoints of every journal that is written there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol

from peak_trade.core.errors import SessionError

PRIVATE_NAME = "journal.pem"
PUBLIC_NAME = "journal.pub"


class Signer(Protocol):
    """Signs bytes; `public` is its public key, 64 hex digits."""

    @property
    def public(self) -> str:
        """Public key, 64 hex digits."""

    def sign(self, content: bytes) -> str:
        """Return the signature, 128 hex digits."""


class WorkspaceKey:
    """The private key in a `keys` folder, made on first use with mode 0600."""

    def __init__(self, keys: Path) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        path = keys / PRIVATE_NAME
        if not path.exists():
            _make_key(keys)
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise SessionError(f"{path}: this is not an Ed25519 key. Move it away; a new one is made at the next run.")
        self._key = key
        self.public = key.public_key().public_bytes_raw().hex()
        if not (keys / PUBLIC_NAME).exists():
            (keys / PUBLIC_NAME).write_text(self.public + "\n", encoding="ascii")

    def sign(self, content: bytes) -> str:
        """Return the signature, 128 hex digits."""
        return self._key.sign(content).hex()


def public_key(keys: Path) -> str | None:
    """Return the public key in a `keys` folder, 64 hex digits, or None when there is none."""
    path = keys / PUBLIC_NAME
    return path.read_text(encoding="ascii").strip() if path.exists() else None


def is_signed(public: str, signature: str, content: bytes) -> bool:
    """Return whether the signature of these bytes was made with the private half of `public`."""
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

    keys.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    draft = keys / f"{PRIVATE_NAME}.{os.getpid()}"
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(draft, keys / PRIVATE_NAME)
    draft.unlink()
