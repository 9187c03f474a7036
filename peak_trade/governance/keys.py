"""Keys of approvers: Ed25519, in a file outside the repository and the workspace, or in an SSH agent."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from peak_trade.core.errors import GovernanceError, listed
from peak_trade.core.files import create_file, make_folder, read_bytes, reason_of, sync_folder
from peak_trade.journal.keys import is_public_key, verify_signature

_PRIME = 2**255 - 19
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _PRIME - 1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
    }
)
"""The y coordinates of the eight points whose order divides 8; under them a signature fits many messages."""


class ApproverKey:
    """The private key of an approver, which signs approvals and policies."""

    def __init__(self, path: Path, passphrase: str | None = None) -> None:
        """Read the key of a file; GovernanceError if it is unreadable, exposed, or locked by another passphrase."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        content = _private_content(path)
        try:
            key = serialization.load_pem_private_key(content, None if passphrase is None else passphrase.encode())
        except TypeError:
            raise GovernanceError(_passphrase_sentence(path, content)) from None
        except (ValueError, UnsupportedAlgorithm):
            raise GovernanceError(
                f"{path}: this is not an Ed25519 key in PEM, or the passphrase is another one. Check both."
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise GovernanceError(f"{path}: this is not an Ed25519 key. Make one with `peak-trade approve --new-key`.")
        self._key = key
        self.public = key.public_key().public_bytes_raw().hex()

    def sign(self, content: bytes) -> str:
        """Return the signature, 128 hex digits."""
        return self._key.sign(content).hex()


class AgentKey:
    """A private key that an SSH agent holds, such as that of a hardware token; it never leaves the agent.

    The messages are those of the SSH agent protocol (draft-miller-ssh-agent). The agent signs with plain Ed25519, so
    the signatures are those of a key in a file.

    Parameters
    ----------
    name : str
        Comment of the key in the agent, as `ssh-add -l` lists it, or its public key, 64 hex digits.
    address : str
        Path of the agent's socket: the environment variable SSH_AUTH_SOCK.

    Raises
    ------
    GovernanceError
        If there is no agent, or it does not hold one Ed25519 key of that name; the message lists those that it holds.

    """

    def __init__(self, name: str, address: str) -> None:
        self._address = address
        content = self._ask(bytes([_REQUEST_IDENTITIES]), _IDENTITIES)
        n_keys, content = int.from_bytes(content[:4], "big"), content[4:]
        known: dict[str, str] = {}
        for _ in range(min(n_keys, 1_000)):
            blob, content = _next_field(content)
            comment, content = _next_field(content)
            kind, key = _next_field(blob)
            if kind == _ED25519:
                known[_next_field(key)[0].hex()] = comment.decode(errors="replace")
        found = [public for public, comment in known.items() if name in (public, comment)]
        if len(found) != 1:
            held = listed(f"{comment} ({public})" for public, comment in known.items()) or "none"
            raise GovernanceError(
                f"the SSH agent holds {len(found)} Ed25519 keys of the name {name!r:.80}. It has: {held}."
            )
        self.public = found[0]

    def sign(self, content: bytes) -> str:
        """Return the signature, 128 hex digits; GovernanceError if the agent refuses."""
        blob = _field(_ED25519) + _field(bytes.fromhex(self.public))
        answer = self._ask(bytes([_SIGN_REQUEST]) + _field(blob) + _field(content) + bytes(4), _SIGN_RESPONSE)
        kind, signature = _next_field(_next_field(answer)[0])
        signed = _next_field(signature)[0].hex()
        if kind != _ED25519 or not verify_signature(self.public, signed, content):
            raise GovernanceError("the SSH agent returned no valid signature of this key.")
        return signed

    def _ask(self, request: bytes, expected: int) -> bytes:
        import socket

        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
                agent.settimeout(_AGENT_SECONDS)
                agent.connect(self._address)
                agent.sendall(_field(request))
                with agent.makefile("rb") as answers:
                    answer = answers.read(min(int.from_bytes(answers.read(4), "big"), _LONGEST_ANSWER))
        except OSError as error:
            raise GovernanceError(
                f"the SSH agent at {self._address!r:.80} did not answer ({reason_of(error)}). Start one: `ssh-agent`."
            ) from None
        if answer[:1] != bytes([expected]):
            raise GovernanceError("the SSH agent refused. See `ssh-add -l`, and confirm the use of the key.")
        return answer[1:]


_REQUEST_IDENTITIES, _IDENTITIES, _SIGN_REQUEST, _SIGN_RESPONSE = 11, 12, 13, 14
_ED25519 = b"ssh-ed25519"
_AGENT_SECONDS = 60.0
"""Time for a person to confirm the use of the key."""
_LONGEST_ANSWER = 256 * 1024


def _field(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def _next_field(content: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(content[:4], "big")
    if len(content) < 4 + size:
        raise GovernanceError("the answer of the SSH agent is cut off.")
    return content[4 : 4 + size], content[4 + size :]


def is_locked(path: Path) -> bool:
    """Return whether the key of a file needs a passphrase."""
    return b"ENCRYPTED" in _private_content(path).splitlines()[0]


def make_approver_key(path: Path, passphrase: str | None, forbidden: Sequence[Path]) -> str:
    """Make the file of a new key, with mode 0600, and return the public key, 64 hex digits.

    GovernanceError if the file exists, or lies in a repository or below one of the `forbidden` folders.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = Path(os.path.realpath(path))
    for folder in path.parents:
        if (folder / ".git").exists() or any(folder == Path(os.path.realpath(each)) for each in forbidden):
            raise GovernanceError(
                f"{path}: a key is kept outside the repository and the workspace, and this is inside {folder}. Choose "
                "another place."
            )
    key = Ed25519PrivateKey.generate()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    content = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    try:
        make_folder(path.parent)
        create_file(path, content, mode=0o600)
        sync_folder(path.parent)
    except FileExistsError:
        raise GovernanceError(f"{path}: this file exists, and a key is never replaced. Choose another name.") from None
    except OSError as error:
        raise GovernanceError(f"{path}: the key could not be written ({reason_of(error)}).") from None
    return key.public_key().public_bytes_raw().hex()


def public_key_fault(text: str) -> str:
    """Return why a text is no public key of an approver, empty if it is one.

    A key is 64 lower-case hex digits, in its only encoding, and not a point of small order (RFC 8032, section 5.1.7,
    and Chalkias, Garillot and Nikolaenko, "Taming the Many EdDSAs", 2020): one key has one spelling, and a signature
    fits one message.
    """
    if not is_public_key(text) or text != text.lower():
        return "a public key is 64 hex digits in lower case"
    y = int.from_bytes(bytes.fromhex(text), "little") & (2**255 - 1)
    if y >= _PRIME or y in _SMALL_ORDER:
        return "this is not the public key of an Ed25519 key pair"
    return ""


def _private_content(path: Path) -> bytes:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise GovernanceError(f"{path}: other users can read this key. Run `chmod 600 {path}`.")
        return read_bytes(path)
    except FileNotFoundError:
        raise GovernanceError(
            f"{path}: there is no such key. Check the path, or make a key with `peak-trade approve --new-key {path}`."
        ) from None
    except OSError as error:
        raise GovernanceError(f"{path}: the key could not be read ({reason_of(error)}).") from None


def _passphrase_sentence(path: Path, content: bytes) -> str:
    if b"ENCRYPTED" in content:
        return f"{path}: this key needs its passphrase."
    return f"{path}: this key has no passphrase. Leave it out."
