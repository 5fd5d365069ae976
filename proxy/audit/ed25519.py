"""Ed25519 keys for checkpoints: the sidecar has the private key, an auditor needs only the public one."""

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from proxy.audit.checkpoint import fingerprint
from proxy.audit.files import TrailError


class Ed25519Key:
    """A key pair, or a public key."""

    def __init__(self, public: Ed25519PublicKey, private: Ed25519PrivateKey | None, file: Path) -> None:
        self._public = public
        self._private = private
        self._file = file
        self.name = f"ed25519-{fingerprint(public.public_bytes_raw())}"

    def sign(self, data: bytes) -> bytes:
        if self._private is None:
            raise TrailError(f"{self._file}: a public key can only check: the sidecar signs with the private one")
        return self._private.sign(data)

    def checks(self, data: bytes, mac: bytes) -> bool:
        try:
            self._public.verify(mac, data)
        except InvalidSignature:
            return False
        return True


def read_pem(content: bytes, file: Path) -> Ed25519Key:
    """Return the key in PEM text. Raise TrailError for another kind of key."""
    try:
        if b"PRIVATE" in content.split(b"\n", 1)[0]:
            private = serialization.load_pem_private_key(content, password=None)
            if isinstance(private, Ed25519PrivateKey):
                return Ed25519Key(private.public_key(), private, file)
        else:
            public = serialization.load_pem_public_key(content)
            if isinstance(public, Ed25519PublicKey):
                return Ed25519Key(public, None, file)
    except (ValueError, TypeError) as error:
        raise TrailError(f"{file}: not a key that can be read: {error}") from error
    raise TrailError(f"{file}: not an Ed25519 key: openssl genpkey -algorithm ed25519 -out {file}")
