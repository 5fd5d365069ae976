"""How this process's modules were built. This file is compiled together with the hot path, so its own name tells."""

COMPILED = not __file__.endswith(".py")
