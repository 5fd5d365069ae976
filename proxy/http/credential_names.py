"""Tell by a field's or a parameter's name that its value is a credential."""

from typing import Final

from proxy.http.headers import NEVER_RECORDED

_FIELDS: Final = frozenset(name.decode().replace("-", "") for name in NEVER_RECORDED)
# RFC 6749, 6750 and 7523, signed URLs of the large clouds, the usual forms and session cookies. In lower case, without
# separators: a name that ends in one of them, such as `reset_token` or `userPassword`.
_ENDINGS: Final = (
    "token", "secret", "password", "passwd", "passphrase", "pwd", "apikey", "privatekey", "accesskey", "signature",
    "credential", "credentials", "jwt", "bearer", "authorization", "jsessionid", "phpsessid",
)  # fmt: skip
_WHOLE: Final = frozenset({"auth", "sig", "assertion"})
# A position in a list is no credential.
_POSITIONS: Final = ("page", "nextpage", "continuation", "next", "previous", "sync", "cursor")


def names_credential(name: str) -> bool:
    """Tell whether `name`, of a header field, a parameter or a member of JSON, says that its value is a credential."""
    folded = name.lower().replace("-", "").replace("_", "").replace(".", "")
    if folded in _FIELDS or folded in _WHOLE:
        return True
    return folded.endswith(_ENDINGS) and not folded.startswith(_POSITIONS)
