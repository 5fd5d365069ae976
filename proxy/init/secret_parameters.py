"""Names of parameters that may be credentials. A guess may leave one out that is none; it never records one."""

import re
from typing import Final

from proxy.http.credential_names import names_credential
from proxy.init.drafts import kebab

_WORDS: Final = frozenset({
    "credential", "credentials", "hash", "hmac", "invitation", "invite", "jwt", "magic", "magiclink", "nonce", "otp",
    "passcode", "passkey", "password", "pin", "secret", "signature", "signed", "ticket", "token", "totp",
})  # fmt: skip
_KINDS_OF_CODE: Final = frozenset({
    "airport", "area", "bar", "country", "currency", "dial", "error", "exit", "item", "lang", "language", "locale",
    "postal", "post", "product", "promo", "qr", "region", "state", "status", "zip",
})  # fmt: skip
_BEFORE: Final = frozenset({
    "activate", "activation", "confirm", "confirmation", "forgot", "invitations", "invite", "invites", "magic",
    "magic-link", "magic-links", "otp", "password", "password-reset", "recover", "redeem", "reset", "reset-password",
    "secrets", "tokens", "unlock", "unsubscribe", "verification", "verify", "verify-email",
})  # fmt: skip
"""Segments after which a parameter is mostly the secret of an e-mail."""
_PUBLIC: Final = re.compile(r"(?:user|account|report|session|chat|thread|conversation)(?:-(?:id|uuid))?", re.ASCII)


def may_be_credential(name: str, before: str = "") -> bool:
    """Tell whether a parameter may be a credential, by its name and by the segment before it."""
    if names_credential(name):
        return True
    words = kebab(name).split("-")
    if _WORDS.intersection(words):
        return True
    if words[-1] == "code" or (words[-1].endswith("code") and len(words) == 1):
        kind = words[-2] if len(words) > 1 else words[-1].removesuffix("code")
        return kind not in _KINDS_OF_CODE
    return kebab(before) in _BEFORE and _PUBLIC.fullmatch(kebab(name)) is None
