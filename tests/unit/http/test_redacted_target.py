"""Secrets in targets: what is replaced, and what ordinary targets keep."""

import pytest

from proxy.http.fields import Fields
from proxy.http.message import Peer, Request
from proxy.http.redacted_target import MAX_TEXT, redacted_path, redacted_query

MIXED = "Ab1AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc"
SHA1 = "0f343b0931126a20f133d67c2b018a3b0f343b09"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        # One sign beside a token changes nothing.
        ("/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsawZ/getMe", "/*/getMe"),
        (f"/v/eyJhbGciOiJIUzI1NiJ9,{MIXED}", "/v/*"),
        ("/x/eyJhbGciOiJIUzI1NiJ9:eyJzdWIi", "/x/*"),
        (f"/t/({MIXED})", "/t/*"),
        (f"/t/'{MIXED}", "/t/*"),
        (f"/t/!{MIXED}", "/t/*"),
        (f"/t/~{JWT}", "/t/*"),
        (f"/t/{MIXED[:26]}${MIXED[26:]}", "/t/*"),
        (f"/t/[{SHA1}]", "/t/*"),
        (f"/t/{MIXED}%3F", "/t/*"),
        # Encoded, once or more often.
        ("/x/%65yJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "/x/*"),
        (f"/t/%28{MIXED}%29", "/t/*"),
        ("/x/Bearer%20eyJhbGciOiJIUzI1NiJ9", "/x/*"),
        ("/x/Bearer%2520eyJhbGciOiJIUzI1NiJ9", "/x/*"),
        ("/a%3bsid=hunter2", "/a%3bsid=*"),
        ("/a%3Bjsessionid=0123456789abcdef0123456789abcdef", "/a%3Bjsessionid=*"),
        ("/a%253Bsid=hunter2", "/a%253Bsid=*"),
        ("/a%253Ftoken=hunter2", "/a%3F*"),
        ("/a%25253Ftoken=hunter2", "/a%3F*"),
        ("/u%3Apw@h", "/*@h"),
        ("/u%253Apw%2540h", "/*%2540h"),
        ("/http:%2F%2Fuser:pw@h", "/*@h"),
        ("/u:p;w@h", "/*@h"),
        # A query without its question mark.
        ("/a&token=hunter2", "/a&token=*"),
        ("/a&b=hunter2&c", "/a&b=*&c"),
        ("/a%26token=hunter2", "/a%26token=*"),
        ("/a%2526token%3Dhunter2", "/a%2526token%3D*"),
        ("/token=hunter2&a=b", "/token=*&a=*"),
        ("/x/token=hunter2", "/x/token=*"),
        ("/x/%74oken%3dhunter2", "/x/%74oken%3d*"),
        ("/x/api_key=hunter2/y", "/x/api_key=*/y"),
        # A token as the name of a parameter.
        (f"/a;{MIXED}=1", "/a;*=*"),
        ("/a;dGVzdA==", "/a;*"),
        # Known prefixes.
        ("/t/npm_AbCdEfGhIjKlMnOpQrStUv", "/t/*"),
        ("/t/hf_abcdefghijklmnopQrStUv", "/t/*"),
        ("/t/dop_v1_abcdef0123456789abcdef", "/t/*"),
        ("/t/ya29.a0AfH6SMBx", "/t/*"),
        ("/t/sk-abcdefghijklmnopqrst", "/t/*"),
        ("/t/(ghp_abcdefghijklmnopqrst)", "/t/*"),
    ],
)
def test_a_secret_in_a_path_is_replaced(path: str, shown: str) -> None:
    assert redacted_path(path.encode()) == shown


@pytest.mark.parametrize(
    "path",
    [
        "/api/sessions/val_123/history",
        "/api/Sessions/val_123/history",
        "/api/sessions/550e8400-e29b-41d4-a716-446655440000",
        "/api/sessions/550E8400-E29B-41D4-A716-446655440000",
        "/api/sessions/550e8400-e29b-41d4-a716-446655440000,6fa459ea-ee8a-3ca4-894e-db77e160355e",
        "/urn:uuid:550e8400-e29b-41d4-a716-446655440000",
        "/reports/2026-11-23T15:37:00Z/2026-11-24T15:37:00+02:00",
        "/reports/2026-11-23T15:37:00.000Z,2026-11-24T15:37:00.000Z",
        "/users/1,2,3/Alpha1,Beta2,Gamma3,Delta4,Epsilon5,Zeta6",
        "/projects:Alpha1:reports:Beta2:items:Gamma3",
        "/v1/reports/val_123:rotate",
        "/v2/app/blobs/sha256:0f343b0931126a20f133d67c2b018a3b0f343b0931126a20f133d67c2b018a3b",
        "/app@sha256:0f343b0931126a20f133d67c2b018a3b0f343b0931126a20f133d67c2b018a3b",
        "/users/bob@example.com",
        "/users/bob%40example.com",
        "/Users('bob')/$count",
        "/partition/date=2026-11-23/hour=15",
        "/R&D/AT%26T",
        "/a%20b/%E4%BD%A0%E5%A5%BD",
        "/sk-SK/pages",
        "/npm_install_logs_of_yesterday",
        "/my-sk-locale-translations-page",
        "/hf_transcripts_of_november_2026",
        "/0123456789abcdef0123456789abcdef",
        "/*",
        "*",
    ],
)
def test_an_ordinary_path_stays(path: str) -> None:
    assert redacted_path(path.encode()) == path


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("c2VjcmV0VG9rZW4xMjM0NTY3ODkwQUJDREVGRw==", "*"),
        ("c2VjcmV0VG9rZW4xMjM0NTY3ODkwQUJDREVGRw=", "*"),
        ("dGVzdA==", "*"),
        ("aHVudGU=", "*"),
        ("hunter2%3D%3D", "*"),
        (f"{MIXED}=1&b=2", "*=*&b=*"),
        (f"({MIXED})=1", "*=*"),
        (f"{JWT}=", "*"),
        ("eyJhbGci=1", "*=*"),
        ("a;token=hunter2", "a;token=*"),
        ("=hunter2", "=*"),
        ("token:hunter2", "*"),
        ("reportId=val_123&view=manual&page=2", "reportId=*&view=*&page=*"),
        ("pageSize=&page_2=&PAGE=&p10=&filter[a]=b", "pageSize=*&page_2=*&PAGE=*&p10=*&filter[a]=*"),
        ("a=b&", "a=*&*"),
        ("a=b&c", "a=*&*"),
        ("a==b", "a=*"),
    ],
)
def test_names_of_a_query_stay_and_tokens_are_no_names(query: str, shown: str) -> None:
    assert redacted_query(query.encode()) == shown
    assert redacted_query(query.encode(), frozenset({b"page-of-another"})) == shown


def test_allowed_parameters_keep_their_values_in_a_path_too() -> None:
    assert redacted_path(b"/a;page=2;b=3", frozenset({b"page"})) == "/a;page=2;b=*"


@pytest.mark.parametrize(
    "part", [b"@", b"%", b"%25", b"25", b";", b"&", b"&a=b", b"=", b":", b"/A", b",A", b"aB1", b"("]
)
def test_a_long_target_is_cut_and_hides_what_is_before_the_cut(part: bytes | int) -> None:
    part = bytes([part]) if isinstance(part, int) else part
    text = redacted_path(b"/" + JWT.encode() + b"/" + part * 16_000)
    assert text.startswith("/*/")
    assert len(text) <= MAX_TEXT
    assert len(redacted_path(b"/u:" + part * 16_000 + b"@h")) <= MAX_TEXT


def test_a_request_in_a_log_line_shows_no_secret_of_its_path() -> None:
    """An unexpected error logs the request."""
    assert repr(Request("GET", f"/t/{JWT}?a".encode(), Fields(()), Peer("192.0.2.1", 1))) == "<Request GET b'/t/*?'>"
