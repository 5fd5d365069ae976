"""Recorded values are allow-listed, salted and bounded."""

import re
from hashlib import blake2b, sha256
from pathlib import Path

import pytest

from proxy.audit.redaction import Redaction, bounded, read_salt
from proxy.errors import StartError
from proxy.http.fields import Fields
from proxy.http.message import Peer, Request
from proxy.http.redacted_target import MAX_TEXT
from tests.settings import redaction

SALTED = Redaction(b"salt" * 8, frozenset({b"page"}), (b"x-view",), "hashed")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (b"", "/a"),
        (b"page=2&token=s3cret", "/a?page=2&token=*"),
        (b"s3cret", "/a?*"),
        (b"token=", "/a?token=*"),
        (b"page=2&page=3", "/a?page=2&page=3"),
        (b"%70age=s3cret", "/a?%70age=*"),
    ],
)
def test_query_values_are_shown_only_by_allow_list(query: bytes, shown: str) -> None:
    """Names stay, values go; a bare token is a value; an escaped name is another name."""
    assert SALTED.path(b"/a", query) == shown


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"/a;jsessionid=1E6FEC0D14D044541DD84D2D013D29ED/b", "/a;jsessionid=*/b"),
        (b"/a;s3cret;page=2", "/a;*;page=2"),
        (b"/a%3Ftoken=s3cret&page=2", "/a%3F*"),
        (b"/a%3ftoken=s3cret/b", "/a%3F*"),
        (b"/to/http://user:s3cret@host/b", "/to/http://*@host/b"),
        (b"/to/user%3As3cret%40host", "/to/*%40host"),
        (b"/share/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "/share/*"),
        (b"/invite/ghp_16C7e42F292c6912E7710c838347Ae178B4a", "/invite/*"),
        (b"/reset/q7Zp2LxW0tYb8RkD4mNc6VhJ1sFg3AeU", "/reset/*"),
        (b"/reset/0f343b0931126a20f133d67c2b018a3b0f343b09", "/reset/*"),
        (b"/api/sessions/550e8400-e29b-41d4-a716-446655440000", "/api/sessions/550e8400-e29b-41d4-a716-446655440000"),
        (b"/api/Sessions/val_123/history", "/api/Sessions/val_123/history"),
        (b"/users/bob@example.com", "/users/bob@example.com"),
        (b"/a%20b", "/a%20b"),
    ],
)
def test_secrets_in_the_path_are_not_written_down(path: bytes, shown: str) -> None:
    """Path parameters, an encoded query, user and password, bare tokens; identifiers of reports stay."""
    assert SALTED.path(path, b"") == shown


def test_a_request_in_a_log_line_shows_no_query() -> None:
    """An unexpected error logs the request."""
    assert "s3cret" not in repr(Request("GET", b"/a?token=s3cret", Fields(()), Peer("192.0.2.1", 1)))


def test_everything_is_bounded() -> None:
    """A client cannot make a record as long as it likes."""
    assert len(SALTED.path(b"/" + b"a" * 5_000, b"page=" + b"b" * 5_000)) == MAX_TEXT
    assert len(SALTED.noted_headers(Fields(((b"X-View", b"v" * 5_000),)))["x-view"]) == 256
    assert bounded("\ud800" + "x" * 5_000) == "?" + "x" * (MAX_TEXT - 1)
    assert bounded(None) is None


def test_hashes_need_the_salt() -> None:
    """Equal secrets look equal in one installation, and different in another."""
    assert SALTED.hashed(b"key") == SALTED.hashed(b"key") != SALTED.hashed(b"kex")
    assert SALTED.hashed(b"key") != redaction(salt=b"other").hashed(b"key")


def test_client_addresses_as_switched() -> None:
    """Not at all, hashed or plain."""
    assert redaction().client("192.0.2.1") is None
    assert redaction(clients="plain").client("192.0.2.1") == "192.0.2.1"


def test_hashed_client_addresses_can_be_told_apart_and_not_be_guessed() -> None:
    """One address has one hash, another another; no part of it is shown; a list of all hashes needs the salt."""
    one, again, other = (SALTED.client(address) for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"))
    assert one is not None
    assert one == again != other
    assert re.fullmatch("[0-9a-f]{16}", one)
    unsalted = {blake2b(b"192.0.2.1", digest_size=8).hexdigest(), sha256(b"192.0.2.1").hexdigest()[:16]}
    elsewhere = redaction(salt=b"another salt of its own", clients="hashed").client("192.0.2.1")
    assert one not in {*unsalted, elsewhere}


def test_only_named_headers_are_noted() -> None:
    """And only where the request has them."""
    fields = Fields(((b"X-View", b"manual"), (b"Authorization", b"s3cret")))
    assert SALTED.noted_headers(fields) == {"x-view": "manual"}
    assert SALTED.noted_headers(Fields(())) == {}


def test_the_salt_is_made_once(tmp_path: Path) -> None:
    """Random, mode 0600, and the same at the next start."""
    file = tmp_path / "audit.jsonl.salt"
    assert len(salt := read_salt(file)) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_salt(file) == salt
    assert read_salt(tmp_path / "other") != salt


def test_a_salt_that_is_none_is_one_line(tmp_path: Path) -> None:
    """Too short to hide anything, or in no folder: which file, and what to do."""
    (tmp_path / "salt").write_bytes(b"short")
    with pytest.raises(StartError, match=r"salt: 5 bytes can be guessed: delete it"):
        read_salt(tmp_path / "salt")
    with pytest.raises(StartError, match=r"No such file or directory: set audit\.salt_file"):
        read_salt(tmp_path / "no" / "salt")


@pytest.mark.parametrize("part", [b"/", b"/;", b";", b";a=b", b"@", b"/A"])
def test_a_path_is_cut_where_the_record_ends_and_not_before_its_secrets(part: bytes) -> None:
    plain = redaction()
    token = b"/eyJhbGciOiJIUzI1NiJ9"
    whole = plain.path(b"/a" + part * 100 + token, b"")
    assert plain.path(b"/a" + part * 100 + token + b"/" + part * 16_000, b"").startswith(whole)
    assert "eyJ" not in plain.path(part * 255 + token * 20, b"")
