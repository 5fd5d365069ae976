"""Mechanically generated mutants: small changes of a module that its tests should notice."""
