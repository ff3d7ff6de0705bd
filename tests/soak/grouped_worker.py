"""rqtool in a process group of its own, whose number its tasks know: a poison task kills the whole of it."""

from __future__ import annotations

import os
import sys

from rqtool.cli.main import main

if __name__ == "__main__":
    os.setpgrp()
    os.environ["SOAK_WORKER"] = str(os.getpid())
    sys.exit(main())
