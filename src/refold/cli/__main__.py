"""`python -m refold.cli`, where no `refold` is on the PATH."""

from refold.cli.main import main

main()
