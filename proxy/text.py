"""Escape text from clients for terminals and spreadsheets."""

import re

# Characters that a terminal or a page interprets, or that change the reading order: control characters, line and
# paragraph separators, bidirectional controls (Unicode Standard Annex 9), zero-width and tag characters, surrogates.
_ACTIVE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f]"
)
# The start of a cell, for any separator of a spreadsheet, and the characters that begin a formula there
# (OWASP, CSV injection), full-width forms included.
_FORMULA = re.compile(r"(^|[;,|\"'])(?=[ ]?[=+\-@\uff1d\uff0b\uff0d\uff20])")


def escaped(text: str) -> str:
    """Return text with every control, bidirectional and invisible character as an escape, such as `\\u202e`."""
    return _ACTIVE.sub(_code, text)


def escaped_lines(text: str) -> str:
    """Do the same, but keep line breaks."""
    return "\n".join(escaped(line) for line in text.split("\n"))


def escaped_json(text: str) -> str:
    """Return an equivalent line of JSON without these characters."""
    return _ACTIVE.sub(_json_code, text)


def harmless_cell(text: str) -> str:
    """Return text for a CSV cell that no spreadsheet runs as a formula, whichever separator it splits at."""
    return _FORMULA.sub(r"\1'", escaped(text))


def _code(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_code(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
