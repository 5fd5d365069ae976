"""Recognise a credential by the name of its field or parameter."""

from typing import Final

from proxy.http.headers import NEVER_RECORDED

_FIELDS: Final = frozenset(name.decode().replace("-", "") for name in NEVER_RECORDED)
# Ends of names, in lower case and without separators, such as those of `reset_token` and `userPassword`. From RFC 6749,
# 6750 and 7523, signed URLs of the large clouds, common forms and session cookies.
_ENDINGS: Final = (
    "token", "secret", "password", "passwd", "passphrase", "pwd", "apikey", "privatekey", "accesskey", "signature",
    "credential", "credentials", "jwt", "bearer", "authorization", "jsessionid", "phpsessid",
)  # fmt: skip
_WHOLE: Final = frozenset({"auth", "sig", "assertion"})
# A token with one of these prefixes is a position in a list, not a credential.
_POSITIONS: Final = ("page", "nextpage", "continuation", "next", "previous", "sync", "cursor")


def names_credential(name: str) -> bool:
    """Tell whether `name`, of a header field, a parameter or a member of JSON, is the name of a credential."""
    folded = name.lower().replace("-", "").replace("_", "").replace(".", "")
    if folded in _FIELDS or folded in _WHOLE:
        return True
    return folded.endswith(_ENDINGS) and not folded.startswith(_POSITIONS)
