"""The event loop of the tests."""

import warnings

import uvloop


class CheckedLoop(uvloop.Loop):
    """A loop that fails when it closes if a test left a transport open.

    uvloop warns of such a transport and then closes it. Where warnings are errors it would not get so far, and wait
    forever.
    """

    def close(self) -> None:
        """Close the loop. Raise AssertionError if a transport was open."""
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", ResourceWarning)
            super().close()
        assert not found, [str(warning.message) for warning in found]
