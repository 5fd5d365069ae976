"""Untrusted text for a terminal, a JSON line and a spreadsheet."""

import unicodedata

import orjson

from proxy.text import escaped, escaped_json, escaped_lines, harmless_cell

EVERY = [chr(code) for code in range(0x110000)]


def test_no_character_that_acts_passes() -> None:
    """Every control character, every bidirectional control and every tag character of Unicode; ordinary text stays."""
    bidirectional = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN", "B", "S"}
    passed = [char for char in EVERY if escaped(char) == char]
    controls = [char for char in passed if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    assert controls == []
    assert [char for char in passed if unicodedata.bidirectional(char) in bidirectional - {"BN"}] == []
    assert escaped("naïve – 日本語 £1") == "naïve – 日本語 £1"
    assert escaped("a\x1b\u202e\U000e0041") == r"a\x1b\u202e\U000e0041"


def test_line_breaks_of_a_text_with_lines_stay() -> None:
    """A traceback has several; the other controls go."""
    assert escaped_lines("a\nb\x1b") == "a\nb\\x1b"


def test_json_means_the_same() -> None:
    """A reader of the line gets the characters back."""
    text = "a\u202e\x9b\U000e0041\x7f"
    line = orjson.dumps({"subject": text}).decode()
    assert orjson.loads(escaped_json(line)) == {"subject": text}
    assert escaped_json(line).isascii()


def test_a_cell_with_a_number_stays() -> None:
    """Only what could begin a cell is marked."""
    assert harmless_cell("2026-11-29T15:37") == "2026-11-29T15:37"
    assert harmless_cell("a;\uff0b1") == "a;'\uff0b1"
