"""The program: its verbs, and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import gc
import os
import sys

import typer

from rqtool.cli.command import usage_error
from rqtool.cli.verbs import Verbs
from rqtool.errors import RqtoolError, Stopped, UsageError
from rqtool.output import (
    OutputError,
    complain,
    last_words,
    prepare_streams,
    take_standard_numbers,
    unwritable,
)

INTERNAL_ERROR = 70
"""EX_SOFTWARE of sysexits.h: a bug in rqtool itself."""

app = typer.Typer(
    name="rqtool",
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RQTOOL"},
    epilog="More about a command: rqtool help COMMAND",
)


@app.callback()
def _rqtool() -> None:
    """A durable work queue for the command line, on RabbitMQ."""


def main() -> int:
    """Run the command line and return the exit code. Users see no traceback unless they set RQTOOL_DEBUG."""
    take_standard_numbers()
    prepare_streams()
    code = _run()
    # Spares a short run the last garbage collection, 15 ms over everything imported; the process frees it anyway.
    gc.freeze()
    return code


def _run() -> int:
    try:
        result = app(standalone_mode=False, prog_name="rqtool")
    except typer.TyperException as error:
        if "\n" in error.format_message():  # a command without its verb: the message is the help
            sys.stderr.write(error.format_message() + "\n")
            return UsageError.exit_code
        complain(str(usage_error(error)))
        return UsageError.exit_code
    except RqtoolError as error:
        last_words(str(error))
        if isinstance(error, Stopped):
            os._exit(error.exit_code)  # at once: a normal exit would wait for the threads of the work that was stopped
        return error.exit_code
    except OutputError as error:
        complain(str(unwritable(error)))
        return RqtoolError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        if os.environ.get("RQTOOL_DEBUG"):
            raise
        what = f"Internal error: {type(error).__name__}: {error}"
        complain(str(RqtoolError(what, "RQTOOL_DEBUG=1 shows where; please report it")))
        return INTERNAL_ERROR
    return result if isinstance(result, int) else 0
