"""Fuzzing: bytes of any kind against every reader of bytes, held against second opinions and invariants.

`python -m tests.fuzz --seconds 300` runs every target for five minutes.
"""
