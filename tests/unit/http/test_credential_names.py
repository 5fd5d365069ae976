"""Which names say that their value is a credential."""

import pytest

from proxy.http.credential_names import names_credential


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "X-Auth-Token",
        "Idempotency-Key",
        "token", "access_token", "accessToken", "refresh-token", "X-CSRF-Token", "X-Amz-Security-Token",
        "client_secret", "password", "userPassword", "passwd", "pwd", "api_key", "apikey", "APIKEY", "private_key",
        "sig", "X-Goog-Signature", "jwt", "auth", "JSESSIONID", "PHPSESSID", "client_assertion.jwt",
    ],
)  # fmt: skip
def test_a_credential(name: str) -> None:
    assert names_credential(name)


@pytest.mark.parametrize(
    "name",
    [
        "reportId", "report_id", "X-Report-Id", "sessionId", "session", "id", "key", "page", "pageToken",
        "next_page_token", "continuationToken", "tokenId", "token_count", "secretary", "author", "design", "X-View", "",
    ],
)  # fmt: skip
def test_an_identifier_or_a_position(name: str) -> None:
    """The sessions of this backend are what it is about, and a position in a list is no credential."""
    assert not names_credential(name)
