"""Whether the hot path is compiled: this module is compiled with it, so its own file name tells."""

COMPILED = not __file__.endswith(".py")
