"""Rows are read only with their key and in their place."""

import base64
from pathlib import Path

import pytest

from proxy.errors import StartError
from proxy.store.disk.sealing import Encrypted, Names, Plain, Seal, UnreadableError, read_keys, seal_of

ONE, OTHER = bytes(32), bytes([1] * 32)


def test_only_the_key_and_the_place_open_a_value() -> None:
    """Another key, another place, a changed bit, a cut, a plain value: none is read."""
    seal = Encrypted([ONE])
    value = seal.seal(b"a", b"secret")
    assert b"secret" not in value
    assert seal.unseal(b"a", value) == (b"secret", True)
    plain = Plain().seal(b"a", b"secret")
    changed = value[:-1] + bytes([value[-1] ^ 1])
    cases: list[tuple[Seal, bytes, bytes]] = [
        (Encrypted([OTHER]), b"a", value), (seal, b"b", value), (seal, b"a", changed), (seal, b"a", value[:5]),
        (seal, b"a", b""), (seal, b"a", plain), (Plain(), b"a", value),
    ]  # fmt: skip
    for reader, place, given in cases:
        with pytest.raises(UnreadableError):
            reader.unseal(place, given)


def test_every_key_decrypts_and_the_first_encrypts() -> None:
    """A reader knows which values still have an older key."""
    old = Encrypted([ONE]).seal(b"a", b"secret")
    rotated = Encrypted([OTHER, ONE])
    assert rotated.unseal(b"a", old) == (b"secret", False)
    assert rotated.unseal(b"a", rotated.seal(b"a", b"new")) == (b"new", True)
    with pytest.raises(UnreadableError):
        Encrypted([ONE]).unseal(b"a", rotated.seal(b"a", b"new"))


def test_two_values_of_the_same_content_differ() -> None:
    """A nonce is used once."""
    seal = Encrypted([ONE])
    assert seal.seal(b"a", b"same") != seal.seal(b"a", b"same")


def test_names_depend_on_the_file_and_on_what_they_name() -> None:
    """No table of digests that fits another file fits this one."""
    names = Names(ONE)
    assert names.of(b"subject", b"r-1") == names.of(b"subject", b"r-1")
    assert len({names.of(b"subject", b"r-1"), names.of(b"owner", b"r-1"), Names(OTHER).of(b"subject", b"r-1")}) == 3


def test_a_key_is_base64_or_hex_one_a_line(tmp_path: Path) -> None:
    """Empty lines do not matter."""
    file = tmp_path / "keys"
    file.write_text(f"{base64.b64encode(OTHER).decode()}\n\n{ONE.hex()}\n")
    assert read_keys(str(file)) == [OTHER, ONE]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no key"), ("\n", "has no key"), ("secret\n", "line 1 is not 32 bytes"),
        (f"{ONE.hex()}\n{'ab' * 31}\n", "line 2 is not 32 bytes"), ("é", "is not text"), ("zz" * 32, "is not 32 bytes"),
    ],
)  # fmt: skip
def test_a_bad_key_file_is_one_line_with_the_cure(tmp_path: Path, content: str, says: str) -> None:
    """It names the setting, the file, the line and how to make a key; never the content."""
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(StartError, match=says) as raised:
        seal_of(str(file))
    text = str(raised.value)
    assert text.startswith("store.key_file: ")
    assert "openssl rand -base64 32" in text
    assert "secret" not in text
    assert "\n" not in text


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    """With the cure."""
    with pytest.raises(StartError, match="No such file"):
        read_keys(str(tmp_path / "none"))
