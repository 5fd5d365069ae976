"""Whether the hot path is compiled. This module is compiled with it, so its file name shows that."""

COMPILED = not __file__.endswith(".py")
