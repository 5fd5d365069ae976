"""How many attempts continue after their last caller left: one for each circuit, none after a close."""

from proxy.policy.probing import Probes


def test_each_circuit_has_one_place() -> None:
    """It is free again when its attempt has ended; another circuit's is its own."""
    probes = Probes()
    assert probes.take("a", list)
    assert not probes.take("a", list)
    assert probes.take("b", list)
    probes.give_back("a")
    assert probes.take("a", list)
    assert (len(probes), repr(probes)) == (2, "<Probes b,a>")


def test_closing_ends_every_probe_and_lets_no_other_begin() -> None:
    """Each is ended once; one that gives its place back while it is ended disturbs nothing."""
    probes, ended = Probes(), list[str]()

    def end(circuit: str) -> None:
        ended.append(circuit)
        probes.give_back(circuit)

    for circuit in ("a", "b"):
        assert probes.take(circuit, lambda circuit=circuit: end(circuit))  # type: ignore[misc]  # mypy cannot infer it
    probes.close()
    assert (ended, len(probes)) == (["a", "b"], 0)
    assert not probes.take("a", list)
