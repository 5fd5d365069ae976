"""The newest records in memory are bounded, in number and in bytes."""

from proxy.audit.newest import Newest


def test_the_oldest_give_way() -> None:
    """Beyond the number, and beyond the bytes: a client chooses how long its record is."""
    newest = Newest(limit=3, most_bytes=100)
    for number in range(5):
        newest.append(b"%d" % number)
    assert (list(newest), newest.size) == ([b"2", b"3", b"4"], 3)
    newest.append(bytes(99))
    assert (list(newest), newest.size) == ([b"4", bytes(99)], 100)
    newest.append(bytes(101))
    assert (len(newest), newest.size) == (0, 0)
