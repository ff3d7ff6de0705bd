"""The program: its verbs, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated

import typer

from rqtool import __version__
from rqtool.cli.output import complain, emit, last_words
from rqtool.cli.verbs import Verbs
from rqtool.errors import RqtoolError, Stopped, UsageError
from rqtool.output import OutputError, prepare_stderr, prepare_stdout, take_standard_numbers, unwritable

INTERNAL_ERROR = 70
"""EX_SOFTWARE of sysexits.h: a bug of rqtool's own."""

app = typer.Typer(
    name="rqtool",
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RQTOOL"},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        emit(f"rqtool {__version__}")
        raise typer.Exit


@app.callback()
def _rqtool(
    version: Annotated[
        bool,
        # No environment twin: an image that sets RQTOOL_VERSION means something else.
        typer.Option(
            "--version", callback=_print_version, is_eager=True, allow_from_autoenv=False, help="Print the version."
        ),
    ] = False,
) -> None:
    """A durable work queue for the command line, on RabbitMQ."""


def main() -> int:
    """Run the command line and return the exit code. No traceback reaches a user, unless RQTOOL_DEBUG asks for it."""
    take_standard_numbers()
    prepare_stdout()
    prepare_stderr()
    code = _run()
    # To look for garbage among all that was imported would take a short run's last 15 ms, and the memory goes anyway.
    gc.freeze()
    return code


def _run() -> int:
    try:
        result = app(standalone_mode=False, prog_name="rqtool")
    except typer.TyperException as error:
        if "\n" in error.format_message():  # a command without its verb: the message is the help
            sys.stderr.write(error.format_message() + "\n")
            return UsageError.exit_code
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "rqtool"
        complain(str(UsageError(error.format_message(), f"See: {where} --help")))
        return UsageError.exit_code
    except RqtoolError as error:
        last_words(str(error))
        if isinstance(error, Stopped):
            # Without waiting for threads: a second signal must not be held up by the work that it wants to end.
            os._exit(error.exit_code)
        return error.exit_code
    except OutputError as error:
        complain(str(unwritable(error)))
        return RqtoolError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        if os.environ.get("RQTOOL_DEBUG"):
            raise
        complain(
            str(
                RqtoolError(
                    f"Internal error: {type(error).__name__}: {error}", "RQTOOL_DEBUG=1 shows where; please report it"
                )
            )
        )
        return INTERNAL_ERROR
    return result if isinstance(result, int) else 0
