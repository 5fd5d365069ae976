"""`python -m proxy` is the `backstay` command."""

from proxy.cli.main import main

main()
