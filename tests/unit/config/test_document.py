"""The origin of each key: line, variable or option."""

from proxy.config.document import Document

TEXT = """\
top = true
[listen]
address = "x"

[upstreams.a.breaker]
"jitter" = 1
[[routes]]
a = 1
[routes.retry]
b = 2
[[routes]]
retry.max_retries = 4
target = { ideal = "1s" }
"""


def test_every_key_knows_its_line() -> None:
    """Tables, arrays of tables, dotted, quoted and inline keys are found; what was not written is at its table."""
    where = Document(TEXT, "c.toml").where
    assert where(("top",)) == "c.toml:1"
    assert where(("listen", "address")) == "c.toml:3"
    assert where(("listen", "missing")) == "c.toml:2"
    assert where(("upstreams", "a", "breaker", "jitter")) == "c.toml:6"
    assert where(("routes", 0, "a")) == "c.toml:8"
    assert where(("routes", 0, "retry", "b")) == "c.toml:10"
    assert where(("routes", 1)) == "c.toml:11"
    assert where(("routes", 1, "retry", "max_retries")) == "c.toml:12"
    assert where(("routes", 1, "target", "ideal")) == "c.toml:13"
    assert where(("elsewhere",)) == "c.toml"


def test_what_is_laid_on_takes_over_as_the_origin() -> None:
    """A variable that replaces a table replaces the lines of all that was in it."""
    document = Document(TEXT, "c.toml")
    document.lay(("listen",), {"address": "y"}, "VARIABLE")
    assert document.get("listen", "address") == "y"
    assert document.where(("listen", "address")) == "VARIABLE"
    assert document.where(("top",)) == "c.toml:1"


def test_what_is_laid_under_yields_to_what_was_laid_on() -> None:
    """A weaker say beats the file, and neither replaces nor hides a stronger one."""
    document = Document(TEXT, "c.toml")
    document.lay(("upstreams", "a", "breaker"), {"jitter": 2}, "STRONG")
    document.lay_under(("upstreams", "a", "breaker", "jitter"), 3, "WEAK")
    document.lay_under(("upstreams", "a", "breaker", "max_probes"), 4, "WEAK")
    document.lay_under(("top",), False, "WEAK")
    assert document.get("upstreams", "a", "breaker") == {"jitter": 2, "max_probes": 4}
    assert document.where(("upstreams", "a", "breaker", "jitter")) == "STRONG"
    assert document.get("top") is False


def test_nothing_is_laid_through_a_value_that_is_no_table() -> None:
    """What was written wrongly stays, so that it can be complained about."""
    document = Document("listen = 5")
    document.lay(("listen", "address"), "x", "VARIABLE")
    assert document.data == {"listen": 5}


def test_what_the_file_says_below_a_key_that_was_laid_over_is_no_origin() -> None:
    document = Document("[a]\nb = {c = 1}\nd = 2\n[e]\nf = 3\n", "file")
    document.lay(("a", "b"), {"c": 2}, "VARIABLE")
    assert document.where(("a", "b", "c")) == document.where(("a", "b")) == "VARIABLE"
    assert document.where(("a", "d")) == "file:3"
    document.lay(("e",), {"f": 4}, "OPTION")
    assert document.where(("e", "f")) == "OPTION"
