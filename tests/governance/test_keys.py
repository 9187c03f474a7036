"""Keys of approvers: where they may lie, who may read them, and which public keys are one person's."""

import socketserver
import stat
import threading
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peak_trade.cli import main
from peak_trade.core.errors import GovernanceError
from peak_trade.governance.keys import AgentKey, ApproverKey, is_locked, make_approver_key, public_key_fault

PRIME = 2**255 - 19


def encoded(y: int, sign: int = 0) -> str:
    return (y | sign << 255).to_bytes(32, "little").hex()


def test_a_new_key_is_readable_by_its_owner_only_and_never_replaced(tmp_path):
    path = tmp_path / "new" / "ada.pem"
    public = make_approver_key(path, None, [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ApproverKey(path).public == public
    assert not public_key_fault(public)
    with pytest.raises(GovernanceError, match="never replaced"):
        make_approver_key(path, None, [])
    path.chmod(0o640)
    with pytest.raises(GovernanceError, match="chmod 600"):
        ApproverKey(path)


def test_a_key_is_locked_by_its_passphrase(tmp_path):
    path = tmp_path / "ada.pem"
    public = make_approver_key(path, "correct horse", [])
    assert is_locked(path)
    assert ApproverKey(path, "correct horse").public == public
    with pytest.raises(GovernanceError, match="passphrase is another one"):
        ApproverKey(path, "wrong")
    with pytest.raises(GovernanceError, match="needs its passphrase"):
        ApproverKey(path)
    other = tmp_path / "bob.pem"
    make_approver_key(other, None, [])
    assert not is_locked(other)
    with pytest.raises(GovernanceError, match="no passphrase"):
        ApproverKey(other, "x")


def test_a_key_is_not_made_in_a_repository_or_a_workspace(tmp_path):
    repository, workspace = tmp_path / "repository", tmp_path / "workspace"
    for folder in (repository / ".git", repository / "deep", workspace):
        folder.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(repository)
    for path in (repository / "deep" / "a.pem", link / "a.pem", workspace / "keys" / "a.pem"):
        with pytest.raises(GovernanceError, match="outside the repository"):
            make_approver_key(path, None, [workspace])
        assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\n"], ids=["empty", "begin"])
def test_a_file_without_a_key_is_refused(tmp_path, content):
    path = tmp_path / "ada.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(GovernanceError, match="not an Ed25519 key"):
        ApproverKey(path)


def test_a_key_that_is_not_there_can_be_made_as_the_error_says(tmp_path, capsys):
    path = tmp_path / "ada.pem"
    with pytest.raises(GovernanceError, match="there is no such key") as caught:
        ApproverKey(path)
    command = str(caught.value).split("`")[1].split()
    assert command[0] == "peak-trade"
    assert main(command[1:]) == 0
    assert ApproverKey(path).public in capsys.readouterr().out


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize(
    "y",
    [
        0,
        1,
        PRIME - 1,
        PRIME,
        PRIME + 1,
        PRIME + 18,
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    ],
)
def test_points_of_small_order_and_second_spellings_are_no_keys(y, sign):
    """The encodings of the eight points of small order, as in table 6c of "Taming the Many EdDSAs"."""
    assert public_key_fault(encoded(y % 2**255, sign))


def test_a_key_has_one_spelling():
    public = encoded(3)
    assert not public_key_fault(public)
    for text in (public.upper().replace("0", "A"), public[:-1], public + "0", f" {public}", "x" * 64):
        assert public_key_fault(text)


@contextmanager
def agent_of(tmp_path, keys, tamper=lambda answer: answer):
    """Yield the address of an SSH agent that holds keys by their comments (draft-miller-ssh-agent)."""

    def field(content):
        return len(content).to_bytes(4, "big") + content

    def blob(private):
        return field(b"ssh-ed25519") + field(private.public_key().public_bytes_raw())

    def answer(request):
        if request[0] == 11:
            listed = [field(blob(private)) + field(comment.encode()) for comment, private in keys.items()]
            listed.append(field(field(b"ssh-rsa") + field(b"x")) + field(b"rsa"))
            return b"\x0c" + len(listed).to_bytes(4, "big") + b"".join(listed)
        size = int.from_bytes(request[1:5], "big")
        wanted, content = request[5 : 5 + size], request[9 + size : -4]
        private = next(each for each in keys.values() if blob(each) == wanted)
        return b"\x0e" + field(field(b"ssh-ed25519") + field(private.sign(content)))

    class Answers(socketserver.StreamRequestHandler):
        def handle(self):
            request = self.rfile.read(int.from_bytes(self.rfile.read(4), "big"))
            self.wfile.write(field(tamper(answer(request))))

    address = str(tmp_path / "agent")
    with socketserver.UnixStreamServer(address, Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield address
        finally:
            server.shutdown()
            thread.join()


def test_a_key_of_an_ssh_agent_signs_as_one_in_a_file(tmp_path):
    keys = {name: Ed25519PrivateKey.generate() for name in ("ada", "bob")}
    public = keys["ada"].public_key().public_bytes_raw().hex()
    with agent_of(tmp_path, keys) as address:
        for name in ("ada", public):
            key = AgentKey(name, address)
            assert key.public == public
            assert key.sign(b"content") == keys["ada"].sign(b"content").hex()
        with pytest.raises(GovernanceError, match=f"holds 0 Ed25519 keys of the name 'eve'.*ada \\({public}\\)"):
            AgentKey("eve", address)


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (lambda answer: b"\x05", "refused"),
        (lambda answer: b"", "refused"),
        (lambda answer: answer[:-1], "cut off"),
        (lambda answer: answer[:-1] + bytes([answer[-1] ^ 1]), "no valid signature"),
    ],
    ids=["failure", "nothing", "short", "forged"],
)
def test_an_agent_that_refuses_or_forges_is_named(tmp_path, tamper, words):
    keys = {"ada": Ed25519PrivateKey.generate()}
    with agent_of(tmp_path, keys, lambda answer: tamper(answer) if answer[:1] == b"\x0e" else answer) as address:
        key = AgentKey("ada", address)
        with pytest.raises(GovernanceError, match=words):
            key.sign(b"content")


def test_without_an_agent_its_place_is_named(tmp_path):
    for address in ("", str(tmp_path / "none")):
        with pytest.raises(GovernanceError, match="did not answer"):
            AgentKey("ada", address)
