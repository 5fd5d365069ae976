"""Fuzzing: any bytes for every parser, checked against other implementations and invariants.

`python -m tests.fuzz --seconds 300` runs every target for five minutes.
"""
