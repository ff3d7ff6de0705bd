"""Options that several verbs share. Those that say where the broker is become the verb's `endpoint`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from rqtool.cli.command import BROKER, OUTPUT
from rqtool.cli.completion import did_you_mean, queue_names
from rqtool.durations import parse_duration
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import NothingListens, RqtoolError, UsageError
from rqtool.output import complain
from rqtool.topology import check_queue_name

DEFAULT_QUEUE = "task_queue"

T = TypeVar("T")


def complete_queue(context: typer.Context, incomplete: str) -> list[str]:
    return queue_names(lambda: endpoint_of(context), incomplete)


queue_option = partial(typer.Option, "--queue", "-q", autocompletion=complete_queue)
QueueName = Annotated[
    str, queue_option(metavar="NAME", envvar="RQTOOL_QUEUE", help="The queue.", callback=check_queue_name)
]
Kind = Annotated[
    Literal["classic", "quorum"] | None,
    typer.Option(help="The queue's type.", show_default="what it is; for a new queue, the broker's default"),
]
AcceptLoss = Annotated[
    bool, typer.Option("--accept-loss", help="Use the queue even if its settings may drop confirmed tasks.")
]
StuckAfter = Annotated[
    str,
    typer.Option(
        metavar="DURATION",
        help="Suspect clients that have held messages for this long without an ack; from 1s to 50m.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", help="Errors only.", rich_help_panel=OUTPUT)]

SHORTEST_STUCK, LONGEST_STUCK = 1.0, 3000.0
"""Seconds: anything shorter would accuse every consumer; the broker remembers an hour."""


def parse_option(option: str, text: str, parse: Callable[[str], T]) -> T:
    """Parse an option's value. Raises the parser's UsageError, with the option in front."""
    try:
        return parse(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error.what}", error.what_to_do) from None


def parse_stuck_after(text: str) -> float:
    """Return the seconds of --stuck-after. Raises UsageError."""
    seconds = parse_option("--stuck-after", text, parse_duration)
    if seconds < SHORTEST_STUCK:
        raise UsageError(
            f"--stuck-after {text} is too short: every busy consumer would be suspect", "Give it at least 1s"
        )
    if seconds > LONGEST_STUCK:
        raise UsageError(
            f"--stuck-after {text} is too long: the broker keeps an hour of statistics", "Give it at most 50m"
        )
    return seconds


def _parameter(name: str, type: Any, option: Any, default: object = None) -> inspect.Parameter:  # noqa: A002
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[type, option])


def _broker(name: str, type: Any, default: object = None, **option: Any) -> inspect.Parameter:  # noqa: A002
    option = {"envvar": f"RQTOOL_{name.upper()}", "rich_help_panel": BROKER} | option
    return _parameter(name, type, typer.Option(f"--{name.replace('_', '-')}", **option), default)


_file = partial(_broker, type=Path | None, metavar="FILE", show_default="none")
_BROKER_OPTIONS = [
    _broker(
        "url",
        str | None,
        metavar="URL",
        envvar=["RQTOOL_URL", "AMQP_URL"],
        help="The broker: amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps:// for TLS. Separate the nodes of a cluster "
        "by commas.",
        show_default="the private node if it runs, else amqp://guest:guest@localhost:5672/",
    ),
    _file("url_file", help="Read the broker's URL from this file. --url takes precedence."),
    _broker(
        "profile",
        str | None,
        metavar="NAME",
        help="Take these broker options from this table of ~/.config/rqtool/config.toml, unless given.",
        show_default="none",
    ),
    _broker("vhost", str | None, metavar="NAME", help="The virtual host.", show_default="the URL's"),
    _broker(
        "api_url",
        str | None,
        metavar="URL",
        help="The management API.",
        show_default="the private node's, else port 15672 (amqps: 15671 or 443) of the broker's host",
    ),
    _file("tls_ca", help="PEM file of the authority that signed the broker's certificate."),
    _file("tls_cert", help="PEM file of a client certificate, for brokers that ask for one."),
    _file("tls_key", help="PEM file of its private key, unless --tls-cert holds it."),
    _broker("insecure", bool | None, help="Accept any certificate. Nothing protects you from a man in the middle."),
]
_QUEUE_ARGUMENT = _parameter(
    "queue_argument",
    str | None,
    typer.Argument(metavar="[QUEUE]", help="The queue; the same as --queue.", autocompletion=complete_queue),
)


def with_broker(
    *, queue_argument: bool = False, choice: Iterable[inspect.Parameter] = ()
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a verb the broker's options, and pass it the `endpoint` that they name.

    `queue_argument`: the verb's queue may be its last argument instead of --queue. `choice`: further parameters, which
    the verb gets as its `**choice`.
    """

    def decorate(verb: Callable[..., int]) -> Callable[..., int]:
        own = inspect.signature(verb, eval_str=True)

        @wraps(verb)
        def run(context: typer.Context, **values: Any) -> int:
            given = {option.name: values.pop(option.name) for option in _BROKER_OPTIONS}
            if queue_argument:
                values["queue"] = _queue(context, values.pop(_QUEUE_ARGUMENT.name), values["queue"])
            endpoint = _endpoint(context, given)
            try:
                return verb(**values, endpoint=endpoint)
            except NothingListens as error:
                raise endpoint.explained(error) from None
            except RqtoolError as error:
                if name := error.unknown_queue:
                    error.what += did_you_mean(endpoint, name, values.get("task"), has_ids=bool(choice))
                raise

        kept = [each for each in own.parameters.values() if each.name not in ("endpoint", "choice")]
        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        last = [_QUEUE_ARGUMENT] if queue_argument else []
        run.__signature__ = own.replace(parameters=[context, *choice, *kept, *last, *_BROKER_OPTIONS])  # type: ignore[attr-defined]
        return run

    return decorate


def _queue(context: typer.Context, argument: str | None, option: str) -> str:
    """Return the queue's name. Raises UsageError for one that is named twice."""
    if argument is None:
        return option
    if is_typed(context, "queue"):
        raise UsageError("The queue is named twice: as an argument and with --queue", "Use one of the two")
    return check_queue_name(argument)


def endpoint_of(context: typer.Context) -> Endpoint:
    """Where the broker of an unfinished command line is. Raises UsageError."""
    given = {option.name: context.params.get(option.name) for option in _BROKER_OPTIONS}
    return _endpoint(context, given)


def _endpoint(context: typer.Context, given: dict[str, Any]) -> Endpoint:
    from rqtool.endpoint.find import find_endpoint
    from rqtool.endpoint.tls import TLSOptions

    for name in ("url", "api_url"):
        if given.get(name) == "":  # typed: an empty variable is None here
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is empty", f"Give it a URL, or leave {option} out")
    if given["url_file"] is not None and is_typed(context, "url_file"):
        if is_typed(context, "url"):
            raise UsageError("--url and --url-file contradict each other", "Use one of the two")
        given["url"] = None  # the command line takes precedence over the environment
    if (profile := given.pop("profile")) is not None:
        given = _with_profile(context, given, profile)
    tls = TLSOptions(given["tls_ca"], given["tls_cert"], given["tls_key"], bool(given["insecure"]))
    url, url_file, private = given["url"], given["url_file"], None
    may_be_private = not given["api_url"] and (not url or "localhost" in url or "127.0.0.1" in url)
    if may_be_private or not (url or url_file):
        from rqtool.private_broker.home import private_endpoint

        private = private_endpoint()
    endpoint = find_endpoint(
        url, given.get("api_url"), url_file=url_file, private=private, tls=tls, vhost=given["vhost"]
    )
    if tls.insecure:
        complain("--insecure: certificates are not checked; a man in the middle can read and change everything.")
    elif tls.given and endpoint.tls is None:
        complain("no address begins with amqps:// or https://: nothing is encrypted, and the --tls options do nothing.")
    return endpoint


def _with_profile(context: typer.Context, given: dict[str, Any], name: str) -> dict[str, Any]:
    """Fill in a profile. Warns of an environment variable that overrides it: the user may have forgotten it."""
    from rqtool.endpoint.profiles import config_file, read_profile, with_profile

    profile = read_profile(config_file(), name)
    values, ignored = with_profile(given, profile)
    if given.get("api_url") and "url" in profile and "url" not in ignored and "api_url" not in profile:
        ignored.append("api_url")
    for key in ignored:
        if given.get(key) is not None and not is_typed(context, key):
            complain(
                f"--{key.replace('_', '-')} is set in the environment, and takes precedence over profile {name!r}."
            )
    return values


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether the option is on the command line, and not from the environment."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
