"""Makes `python -m duokit` the same as the command `duokit`."""

import sys

from duokit.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
