"""`python -m rqtool`."""

import sys

from rqtool.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
