"""Growing inputs: their repeated part, and the fixed parts around it."""

from typing import NamedTuple

SMALL, LARGE = 4_096, 65_536

# Each has made some parser take quadratic time or worse: runs, separators, nesting, escapes, and what ends them badly.
FILLINGS = {
    "spaces": b" ", "tabs": b"\t", "semicolons": b";", "commas": b",", "zeros": b"0", "CRs": b"\r", "LFs": b"\n",
    "CRLFs": b"\r\n", "double quotes": b'"', "single quotes": b"'", "backslashes": b"\\", "brackets": b"[",
    "closing brackets": b"]", "braces": b"{", "objects": b'{"a":', "lists": b"[],", "colons": b":", "slashes": b"/",
    "dots": b".", "escapes": b"%41", "percents": b"%", "equals": b"=", "ampersands": b"&", "letters": b"a",
    "parameters": b"&a=b", "pairs": b"; a=b", "wanted pairs": b";sid=1", "members": b",a", "fields": b"a:\r\n",
    "addresses": b",10.0.0.1", "one-byte chunks": b"1\r\na\r\n", "extensions": b"1;a\r\nx\r\n", "dashes": b"-",
    "Latin-1": b"\xe4", "controls": b"\x01", "digits": b"1", "letters and digits": b"a1", "escaped quotes": b'\\"',
    "at signs": b"@", "quoted escapes": b"%27", "questions": b"%3f", "jsonl": b".jsonl", "formulas": b";=",
    "dotted parts": b"a.", "lists in lists": b"- ", "numbered fields": b"a#:\r\n", "numbered parameters": b"&a#=b",
    "numbered pairs": b"; a#=b", "numbered members": b',"a#":1', "numbered tokens": b",a#", "numbered tags": b',"#"',
    "numbered lines": b"a# = 1\n", "numbered tables": b"[a#]\n", "entries": b"[[a]]\n", "numbered segments": b"/a#",
}  # fmt: skip
NUMBER = b"#"  # stands for a number of its own each time: what is remembered by name grows with different names only


class Around(NamedTuple):
    """What stands before and after a filling."""

    before: bytes = b""
    after: bytes = b""


def filled(around: Around, filling: bytes, size: int) -> bytes:
    """Return an input of about `size` bytes."""
    if NUMBER not in filling:
        return around.before + filling * (size // len(filling)) + around.after
    numbers = range(size // (len(filling) + 4))
    return around.before + b"".join(filling.replace(NUMBER, b"%05d" % number) for number in numbers) + around.after
