"""Attacks that fill memory or hold the loop, beside an honest client: a command, and the processes that it runs."""
