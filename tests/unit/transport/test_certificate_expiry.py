"""When a certificate expires is read as the library that makes it has written it."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from proxy.transport.certificate_expiry import first_expiry

# Its length takes more than one byte.
NAME = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"unit {number:050}") for number in range(9)])


def certificate(end: datetime) -> str:
    """Return a self-signed certificate in PEM."""
    key = Ed25519PrivateKey.generate()
    builder = x509.CertificateBuilder(NAME, NAME, key.public_key(), 7, end - timedelta(days=9), end)
    return builder.sign(key, None).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("year", [1951, 1999, 2049, 2050, 2100, 9999], ids=str)
def test_it_is_the_time_that_was_written(year: int) -> None:
    """Up to 2049 a year has two digits, from 2050 on it has four (RFC 5280 section 4.1.2.5)."""
    end = datetime(year, 11, 30, 14, 5, 59, tzinfo=UTC)
    assert first_expiry(certificate(end)) == end.timestamp()


def test_of_a_chain_the_first_to_expire_counts() -> None:
    """An intermediate that is out of date is as bad as the certificate; keys among them do not matter."""
    ends = [datetime(year, 1, 1, tzinfo=UTC) for year in (2032, 2031, 2060)]
    key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    assert first_expiry(key.join(map(certificate, ends))) == ends[1].timestamp()


@pytest.mark.parametrize(
    "text", ["", "no certificate", certificate(datetime(2030, 1, 1, tzinfo=UTC)).replace("M", "!")]
)
def test_what_is_no_certificate_has_no_expiry(text: str) -> None:
    assert first_expiry(text) is None


@given(st.binary(max_size=200))
def test_whatever_a_block_holds_nothing_is_raised(der: bytes) -> None:
    """OpenSSL accepts a file first; what it understands differently is left out of the metrics."""
    block = base64.b64encode(der).decode()
    assert isinstance(first_expiry(f"-----BEGIN CERTIFICATE-----\n{block}\n-----END CERTIFICATE-----"), float | None)
