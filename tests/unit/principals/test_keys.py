"""Signatures: a key verifies its own algorithm, and nothing that a token says chooses the key's use."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from joserfc.jwk import ECKey

from proxy.policy.token_rules import TokenFault
from proxy.principals.keys import MOST_KEYS, KeysError, KeySet, read_keys
from tests.tokens import Issuer, claims, key, segment

ALL = ("RS256", "PS256", "ES256", "EdDSA")
ISSUERS = {algorithm: Issuer(f"{algorithm}-1", algorithm=algorithm) for algorithm in ALL}


def keys(*members: dict[str, Any], algorithms: tuple[str, ...] = ALL) -> KeySet:
    """Return a set of these keys."""
    return read_keys(json.dumps({"keys": members}).encode(), algorithms)


def member(algorithm: str, **more: Any) -> dict[str, Any]:
    """Return the public key of an issuer as a member of a set."""
    ((kid, one),) = ISSUERS[algorithm].keys.items()
    return {**one.as_dict(private=False), "kid": kid, **more}


@pytest.mark.parametrize("algorithm", ALL)
def test_a_right_signature_is_verified_and_a_changed_one_is_not(algorithm: str) -> None:
    """Of every algorithm, at every place: each part of a token is signed or is the signature."""
    issuer = ISSUERS[algorithm]
    token, known = issuer.token(claims()), keys(member(algorithm))
    assert known.check(token, algorithm, f"{algorithm}-1") is None
    assert known.check(token, algorithm, None) is None
    head, payload, signature = token.split(b".")
    other = issuer.token(claims(sub="eve")).split(b".")
    for forged in (
        b".".join((head, other[1], signature)), b".".join((head, payload, other[2])), b".".join((head, payload, b"")),
        b".".join((head, payload, b"AAAA")), b".".join((segment({"alg": algorithm, "kid": "x"}), payload, signature)),
    ):  # fmt: skip
        assert known.check(forged, algorithm, f"{algorithm}-1") is TokenFault.SIGNATURE


def test_an_algorithm_belongs_to_a_key() -> None:
    """By `alg` of the key, else by its type. The token's header chooses among nothing else."""
    bound = keys(member("RS256", alg="RS256"), member("ES256"))
    assert bound.check(ISSUERS["RS256"].token(claims()), "RS256", "RS256-1") is None
    pss = Issuer("RS256-1", algorithm="PS256")
    assert bound.check(pss.token(claims()), "PS256", "RS256-1") is TokenFault.ALGORITHM
    assert bound.check(pss.token(claims()), "RS256", "RS256-1") is TokenFault.SIGNATURE
    assert bound.check(ISSUERS["RS256"].token(claims()), "RS256", "ES256-1") is TokenFault.ALGORITHM
    free = keys(member("RS256"))
    assert free.check(pss.token(claims()), "PS256", "RS256-1") is None


@pytest.mark.parametrize("claimed", ["none", "HS256", "RS256"])
def test_no_signature_and_a_mac_with_the_public_key_are_refused(claimed: str) -> None:
    """Whatever the caller of the library believes the algorithm to be."""
    one = key("RSA")
    known = keys(member("RS256"))
    for secret in (one.as_pem(private=False), one.as_der(private=False), one.as_dict(private=False)["n"].encode()):
        text = segment({"alg": "HS256", "kid": "RS256-1"}) + b"." + segment(claims())
        forged = text + b"." + segment(hmac.new(secret, text, hashlib.sha256).digest())
        assert known.check(forged, claimed, "RS256-1") is not None
    unsigned = segment({"alg": "none", "kid": "RS256-1"}) + b"." + segment(claims()) + b"."
    assert known.check(unsigned, claimed, "RS256-1") is not None


def test_a_key_in_a_header_is_not_used() -> None:
    """Nor an address of keys: what verifies is the issuer's, or nothing."""
    evil = Issuer("ES256-1", first=5)
    (own,) = evil.keys.values()
    known = keys(member("ES256"))
    for more in (
        {"jwk": own.as_dict(private=False)},
        {"jku": "http://127.0.0.1:9/keys"},
        {"x5u": "http://127.0.0.1:9/"},
    ):
        assert known.check(evil.token(claims(), **more), "ES256", "ES256-1") is TokenFault.SIGNATURE


def test_the_key_of_a_token_must_be_certain() -> None:
    """Without an id there must be one key; an unknown id is no key, even if there is only one."""
    both = keys(member("RS256"), member("ES256"))
    token = ISSUERS["ES256"].token(claims())
    assert both.check(token, "ES256", None) is TokenFault.NO_KEY_ID
    assert both.check(token, "ES256", "other") is TokenFault.UNKNOWN_KEY
    one = keys(member("ES256"))
    assert one.check(token, "ES256", "other") is TokenFault.UNKNOWN_KEY


def test_keys_that_cannot_be_used_are_left_out() -> None:
    """Private and symmetric keys, keys for encryption, weak and slow ones, other curves, and two of one id."""
    good = member("ES256")
    left_out: list[Any] = [
        {"kty": "oct", "k": "AAAA", "kid": "ES256-1"},
        {**key("EC").as_dict(private=True), "kid": "a"},
        member("RS256", use="enc"),
        member("RS256", key_ops=["encrypt"]),
        member("RS256", alg="RS1"),
        member("RS256", e="AQ"),
        member("RS256", n=member("RS256")["n"][:100]),
        {**ECKey.generate_key("P-521").as_dict(private=False), "kid": "b"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "c"},
        {"kty": "RSA", "kid": "d"},
        member("RS256", kid=7),
        "text",
        None,
    ]
    assert len(keys(good, *left_out)) == 1
    for each in left_out:
        with pytest.raises(KeysError, match="no public key"):
            keys(each)
    with pytest.raises(KeysError, match="no public key"):
        keys(good, {**member("RS256"), "kid": good["kid"]})
    with pytest.raises(KeysError, match="no public key"):
        keys(good, algorithms=("RS256",))


@pytest.mark.parametrize(
    "document", [b"", b"{}", b"[]", b"null", b'{"keys": {}}', b'{"keys": []}', b"\xff", b'{"keys":' + b"[" * 9_000]
)
def test_a_document_without_keys_is_an_error(document: bytes) -> None:
    """The keys that are known then stay."""
    with pytest.raises(KeysError):
        read_keys(document, ALL)


def test_a_document_has_a_bounded_number_of_keys() -> None:
    """Each takes time to read."""
    with pytest.raises(KeysError, match="at most"):
        keys(*[{**member("ES256"), "kid": str(n)} for n in range(MOST_KEYS + 1)])
