"""Signed envelopes: the published vector of DSSE, and the law that no byte of an envelope can change."""

import base64
import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import GovernanceError
from peak_trade.governance.envelope import (
    MAX_BYTES,
    Envelope,
    decode_envelope,
    pre_authentication_encoding,
    read_small_file,
)
from tests.examples import examples
from tests.governance.setups import key

KIND = "application/vnd.peak-trade.approval+json"


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: key(folder, name) for name in ("ada", "bob")}


@pytest.fixture(scope="module")
def sealed(people):
    return Envelope(KIND, b'{"a":1}').signed_by(people["ada"]).signed_by(people["bob"]).encode()


def accepted(content, people):
    return decode_envelope(content, KIND).signers({each.public for each in people.values()})


def test_the_signed_bytes_are_those_of_the_published_vector():
    """DSSE protocol 1.0.0, "Test Vectors": ECDSA over P-256 with SHA-256."""
    content = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert content == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    x = 46950820868899156662930047687818585632848591499744589407958293238635476079160
    y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
    published = "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
    raw = base64.b64decode(published)
    signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    public.verify(signature, content, ec.ECDSA(hashes.SHA256()))


def test_lengths_are_counted_in_bytes():
    assert pre_authentication_encoding("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


@given(kinds=st.tuples(st.text(max_size=9), st.text(max_size=9)), payloads=st.tuples(st.binary(), st.binary()))
@settings(max_examples=examples(100))
def test_different_contents_have_different_signed_bytes(kinds, payloads):
    one, other = (pre_authentication_encoding(kind, payload) for kind, payload in zip(kinds, payloads, strict=True))
    assert (one == other) == ((kinds[0], payloads[0]) == (kinds[1], payloads[1]))


def test_an_envelope_is_accepted_as_it_was_signed(sealed, people):
    assert accepted(sealed, people) == {each.public for each in people.values()}
    assert decode_envelope(sealed, KIND).payload == b'{"a":1}'


@given(data=st.data())
@settings(max_examples=examples(400), deadline=None)
def test_any_changed_byte_refuses(sealed, people, data):
    place = data.draw(st.integers(0, len(sealed) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda each: each != sealed[place]))
    with pytest.raises(GovernanceError):
        accepted(sealed[:place] + bytes([byte]) + sealed[place + 1 :], people)


@given(data=st.data())
@settings(max_examples=examples(100), deadline=None)
def test_any_missing_or_added_bytes_refuse(sealed, people, data):
    place = data.draw(st.integers(0, len(sealed) - 1))
    gone = data.draw(st.integers(1, len(sealed) - place))
    added = data.draw(st.binary(min_size=1, max_size=4))
    for content in (sealed[:place] + sealed[place + gone :], sealed[:place] + added + sealed[place:]):
        if content != sealed:
            with pytest.raises(GovernanceError):
                accepted(content, people)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"payload":1,"payloadType":"","signatures":[]}',
        b'{"payload":"","payloadType":"","signatures":{}}',
        b"x" * (MAX_BYTES + 1),
    ],
    ids=["empty", "null", "list", "object", "bytes", "deep", "types", "signatures", "huge"],
)
def test_other_content_is_no_envelope(content):
    with pytest.raises(GovernanceError, match=r"not a signed envelope|at most"):
        decode_envelope(content, KIND)


def test_the_threshold_counts_keys_and_not_signatures(people):
    once = Envelope(KIND, b"x").signed_by(people["ada"])
    with pytest.raises(GovernanceError, match="signed this already"):
        once.signed_by(people["ada"])
    twice = Envelope(KIND, b"x", (*once.signatures, *once.signatures)).encode()
    with pytest.raises(GovernanceError, match="each key counts once"):
        accepted(twice, people)


def test_an_unknown_or_missing_signer_refuses(people):
    signed = Envelope(KIND, b"x").signed_by(people["bob"])
    with pytest.raises(GovernanceError, match="not an approver's key"):
        signed.signers({people["ada"].public})
    with pytest.raises(GovernanceError, match="no signature"):
        accepted(Envelope(KIND, b"x").encode(), people)


def test_a_payload_of_another_type_is_refused_though_it_is_signed(people):
    policy = Envelope("application/vnd.peak-trade.policy+toml", b"x").signed_by(people["ada"]).encode()
    with pytest.raises(GovernanceError, match="it holds"):
        decode_envelope(policy, KIND)


def test_only_a_small_regular_file_is_read(tmp_path, sealed):
    file, link, huge, pipe = (tmp_path / name for name in ("file", "link", "huge", "pipe"))
    file.write_bytes(sealed)
    link.symlink_to(file)
    huge.write_bytes(b"x" * (MAX_BYTES + 1))
    os.mkfifo(pipe)
    assert read_small_file(file) == sealed
    for path, words in ((link, "symbolic link"), (huge, "more than"), (pipe, "regular"), (tmp_path, "regular")):
        with pytest.raises(GovernanceError, match=words):
            read_small_file(path)
    with pytest.raises(GovernanceError, match="No such file"):
        read_small_file(tmp_path / "none")
