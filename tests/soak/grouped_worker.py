"""rqtool in a process group of its own, whose number its tasks know: a poison task kills the whole of it.

SIGHUP ends it, also where whoever started the soak ignores that (nohup).
"""

from __future__ import annotations

import os
import signal
import sys

from rqtool.cli.main import main

if __name__ == "__main__":
    os.setpgrp()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ["SOAK_WORKER"] = str(os.getpid())
    sys.exit(main())
