"""What an attacker who knows JOSE tries, against judges with real keys: nothing of it is ever a verified principal."""

import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
from joserfc import jwe, jws
from joserfc.jwk import OctKey

from proxy.http.fields import Fields
from proxy.policy.issuer_keys import IssuerKeys
from proxy.policy.principals import RoutePrincipals, TokenJudge
from proxy.policy.token_rules import TokenFault
from proxy.principals.keys import MOST_KEYS, KeysError, read_keys
from tests.tokens import NOW, Issuer, Told, claims, key, known_keys, rules, segment

US, THEM = "https://us.example", "https://them.example"
OURS = Issuer("k1", algorithm="RS256")
THEIRS = Issuer("k1", algorithm="ES256")  # its key has the same id
ALL = ("RS256", "PS256", "ES256", "EdDSA")


def bearer(token: bytes, *more: tuple[bytes, bytes]) -> Fields:
    """Return a request's fields with a token."""
    return Fields(((b"Host", b"a"), (b"Authorization", b"Bearer " + token), *more))


def two_issuers(**more: Any) -> RoutePrincipals:
    """Return a route on which two issuers' tokens are accepted in one place."""
    us = TokenJudge(rules("us", issuer=US, **more), known_keys(OURS), Told())
    them = TokenJudge(rules("them", issuer=THEM, **more), known_keys(THEIRS), Told())
    return RoutePrincipals([us, them])


def caller_of(of: RoutePrincipals, shown: Fields) -> object:
    """Return whom a request's tokens name, for anything at all."""
    standing = of.standing(shown, "10.0.0.1", NOW, 0.0)
    return standing.caller or standing.offline


def test_neither_of_two_issuers_speaks_for_the_other() -> None:
    """Their keys have one id. A signature of one with the name of the other verifies nothing, under any algorithm."""
    of = two_issuers(algorithms=ALL)
    us, them = caller_of(of, bearer(OURS.token(claims(iss=US)))), caller_of(of, bearer(THEIRS.token(claims(iss=THEM))))
    assert us is not None
    assert them is not None
    for signer, name in ((OURS, THEM), (THEIRS, US)):
        for algorithm in ALL:
            assert caller_of(of, bearer(signer.token(claims(iss=name), alg=algorithm))) is None
        for iss in ([US, THEM], f"{US}/", US.upper(), f"{US} ", f"{US}#", "", None):
            assert caller_of(of, bearer(signer.token({**claims(), "iss": iss}))) is None


def test_a_public_key_is_no_secret() -> None:
    """Every form in which a confused library might take it for an HMAC's key, under every name of an algorithm."""
    public, of = key("RSA"), two_issuers(algorithms=ALL)
    forms = [
        public.as_pem(private=False),
        public.as_der(private=False),
        json.dumps(public.as_dict(private=False)).encode(),
    ]
    forms += [form.strip() for form in forms] + [public.as_dict(private=False)["n"].encode(), b""]
    for form in forms:
        for said in ({"alg": "HS256"}, {"alg": "RS256"}, {"alg": "none"}, {"alg": "HS256", "typ": "JWT"}):
            text = segment({"kid": "k1", **said}) + b"." + segment(claims(iss=US))
            assert caller_of(of, bearer(text + b"." + segment(hmac.digest(form, text, "sha256")))) is None


HEADERS = [
    {"b64": False, "crit": ["b64"]}, {"b64": True}, {"crit": ["exp"], "exp": 1}, {"alg": "none"}, {"alg": "NONE"},
    {"alg": ""}, {"alg": "rs256"}, {"alg": "RS256 "}, {"alg": None}, {"alg": {}}, {"alg": "A128KW"}, {"alg": "dir"},
    {"kid": ""}, {"kid": "../../dev/null"}, {"kid": "k1\u0000"}, {"kid": "K1"}, {"kid": ["k1"]}, {"kid": "k1' OR 1=1"},
    {"jku": "https://us.example/keys"}, {"jwk": {}}, {"x5u": ""}, {"x5c": []}, {"typ": "secevent+jwt"}, {"typ": ""},
    {"typ": "JWS"}, {"cty": "JWT", "enc": "A256GCM", "alg": "RSA-OAEP"},
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS, ids=str)
def test_a_header_changes_nothing_but_to_be_refused(header: dict[str, Any]) -> None:
    """Each is signed by the issuer's own key: only the header is wrong."""
    token = OURS.token(claims(iss=US), **header)
    assert caller_of(two_issuers(), bearer(token)) is None


CLAIMS = [
    {"aud": []}, {"aud": [["sessions"]]}, {"aud": [None, {"sessions": 1}]}, {"aud": "Sessions"}, {"aud": "sessions "},
    {"aud": "session"}, {"aud": True}, {"sub": ["ada"]}, {"sub": {"a": 1}}, {"sub": 0}, {"sub": False},
    {"exp": "1900000000"}, {"exp": [1_900_000_000]}, {"exp": -1}, {"exp": 0}, {"exp": -0.0}, {"exp": 1e308},
    {"exp": 10**300}, {"exp": -(10**300)}, {"exp": {"$gt": 0}}, {"exp": NOW - 3_700}, {"nbf": "0"}, {"nbf": None},
    {"nbf": 1e308}, {"nbf": 10**300}, {"nbf": [0]}, {"nbf": True}, {"iat": "0"}, {"iat": NOW + 86_400},
]  # fmt: skip


@pytest.mark.parametrize("said", CLAIMS, ids=str)
def test_claims_of_another_type_or_size_are_refused(said: dict[str, Any]) -> None:
    """Signed by the issuer all the same: a library of another language may have made it so."""
    token = OURS.token({**claims(iss=US), **said})
    assert caller_of(two_issuers(), bearer(token)) is None


@pytest.mark.parametrize(
    "text", ["1e999999999", "-1e999999999", "1E+9", "1.9e9000000000000000000", "NaN", "Infinity", "0x7"]
)
def test_numbers_that_json_or_a_clock_cannot_hold(text: str) -> None:
    """None of them raises, and only one is a time."""
    document = json.dumps(claims(iss=US, exp=None)).encode()[:-1] + b', "exp": ' + text.encode() + b"}"
    assert caller_of(two_issuers(), bearer(OURS.token(document))) is None


def forms() -> Iterator[bytes]:
    """Yield what is a token in another form, or has one inside."""
    good = OURS.token(claims(iss=US))
    head, payload, signature = good.split(b".")
    yield OURS.token(good)  # nested: what is signed is a token
    yield OURS.token(b'"' + good + b'"', cty="JWT")
    yield json.dumps(
        {"payload": payload.decode(), "protected": head.decode(), "signature": signature.decode()}
    ).encode()
    yield head + b".." + signature  # detached (RFC 7515 appendix F)
    yield good + b"~"  # SD-JWT
    yield good + b"~" + segment(["salt", "sub", "eve"]) + b"~"  # type: ignore[arg-type]
    yield head + b"." + payload + b"." + signature + b"." + signature
    yield good.replace(b".", b"%2E")
    yield b"\xef\xbb\xbf" + good
    yield OURS.token(b"\xef\xbb\xbf" + json.dumps(claims(iss=US)).encode())
    yield OURS.token({**claims(iss=US), "pad": "x" * 7_000})  # more than 8 KiB
    yield jwe.encrypt_compact(
        {"alg": "RSA-OAEP", "enc": "A128GCM", "kid": "k1"}, json.dumps(claims(iss=US)), key("RSA")
    ).encode()
    yield OURS.token(json.dumps(claims(iss=US)).encode() + b"{}")
    yield OURS.token(b'{"iss":"' + US.encode() + b'","sub":"ada",' + json.dumps(claims(iss=US)).encode()[1:])


@pytest.mark.parametrize("token", list(forms()), ids=lambda token: str(token[-12:]))
def test_another_form_of_a_token_is_none(token: bytes) -> None:
    """Nested, detached, JSON, encrypted, with disclosures, too long, or two documents in one."""
    assert caller_of(two_issuers(), bearer(token)) is None


def test_a_signature_of_zeros_or_of_the_other_form_verifies_nothing() -> None:
    """Zeros once verified everything in a well-known library; the other form is DER in place of RFC 7518's."""
    of, text = two_issuers(), THEIRS.token(claims(iss=THEM)).rpartition(b".")[0]
    der = key("EC").private_key.sign(text, _ecdsa())
    for signature in (bytes(64), b"\xff" * 64, bytes(63) + b"\x01", bytes(1), bytes(128), der):
        assert caller_of(of, bearer(text + b"." + segment(signature))) is None


def _ecdsa() -> Any:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    return ECDSA(SHA256())


def test_a_token_in_another_place_is_none() -> None:
    """A good token in the query, in another field or in a cookie names nobody; two fields name nobody either."""
    good, of = OURS.token(claims(iss=US)), two_issuers()
    for shown in (
        Fields(((b"Cookie", b"authorization=Bearer " + good),)), Fields(((b"X-Authorization", b"Bearer " + good),)),
        Fields(((b"Proxy-Authorization", b"Bearer " + good),)), Fields(((b"Authorization", good),)),
        Fields(((b"Authorization", b"DPoP " + good),)), Fields(((b"Authorization", b"Bearer\t" + good),)),
        bearer(good, (b"Authorization", b"Bearer " + good)), bearer(good, (b"authorization", b"Basic YTpi")),
        bearer(good + b"," + good), bearer(good + b" " + good),
    ):  # fmt: skip
        assert caller_of(of, shown) is None


def members(*given: Any) -> bytes:
    """Return a JWK Set."""
    return json.dumps({"keys": list(given)}).encode()


def public(issuer: Issuer, **more: Any) -> dict[str, Any]:
    """Return an issuer's public key."""
    ((kid, one),) = issuer.keys.items()
    return {**one.as_dict(private=False), "kid": kid, **more}


def test_a_secret_key_in_a_set_makes_no_secret_of_it() -> None:
    """Nor a key whose private half was published: neither verifies anything, under its id or without one."""
    secret = OctKey.generate_key(256)
    private = {**OURS.keys["k1"].as_dict(private=True), "kid": "leaked"}
    found = read_keys(members(public(THEIRS), {**secret.as_dict(private=True), "kid": "mac"}, private), ALL)
    assert len(found) == 1
    text = segment({"alg": "HS256", "kid": "mac"}) + b"." + segment(claims())
    mac = jws.JWSRegistry.algorithms["HS256"].sign(text, secret)
    assert found.check(text + b"." + segment(mac), "HS256", "mac") is TokenFault.UNKNOWN_KEY
    assert found.check(OURS.token(claims(), kid="leaked"), "RS256", "leaked") is TokenFault.UNKNOWN_KEY


def test_two_keys_with_one_id_verify_nothing_however_they_are_ordered() -> None:
    """Whoever can add a key to a set must not be able to replace another one by its id, nor choose which one counts."""
    other = Issuer("k1", algorithm="ES256", first=3)
    third = Issuer("k3", algorithm="ES256", first=4)
    for order in ((THEIRS, other), (other, THEIRS), (THEIRS, OURS), (OURS, THEIRS)):
        keys = IssuerKeys()
        found = read_keys(members(*(public(each) for each in order), public(third)), ALL)
        keys.replace(found.check, len(found))
        of = RoutePrincipals([TokenJudge(rules(issuer=US), keys, Told())])
        for signer in order:
            assert caller_of(of, bearer(signer.token(claims(iss=US)))) is None
        assert caller_of(of, bearer(third.token(claims(iss=US)))) is not None


@pytest.mark.parametrize("document", [
    members(*[public(THEIRS, kid=str(n)) for n in range(MOST_KEYS + 1)]), members(*[{}] * 10_000),
    members(public(OURS, n="A" * 200_000)), members(public(OURS, e="AQAB" * 1_000)), members(public(OURS, n="", e="")),
    members(public(THEIRS, x="AA" * 50_000)), members(public(THEIRS, crv=["P-256"])), members(public(THEIRS, kty=None)),
    members(public(THEIRS, kid={"a": 1})), members(public(THEIRS, crv="P-256K")),
    members({"kty": "OKP", "crv": "X25519", "x": "AA"}),
    members(public(OURS, n="\ud800", e="\u0000")), members(public(OURS, n=5, e=3)), members([public(OURS)]),
    b'{"keys": ' + members(public(OURS)) + b"}", members(public(OURS, use=["sig"], key_ops="verify")),
], ids=lambda document: str(document[:40]))  # fmt: skip
def test_a_broken_or_huge_set_is_an_error_and_raises_nothing_else(document: bytes) -> None:
    """The known keys then stay."""
    with pytest.raises(KeysError):
        read_keys(document, ALL)
