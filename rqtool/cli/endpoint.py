"""Where the broker is: the options that every verb has, and the one place where they become an Endpoint."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from rqtool.cli.output import complain
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import UsageError

_URL = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar=["RQTOOL_URL", "AMQP_URL"],
        help="The broker: amqp://USER:PASSWORD@HOST:PORT/VHOST, amqps:// for TLS; several nodes of a cluster "
        "separated by commas.",
        show_default="the private node if it runs, else amqp://guest:guest@localhost:5672/",
    ),
]
_API_URL = Annotated[
    str | None,
    typer.Option(
        "--api-url",
        metavar="URL",
        envvar="RQTOOL_API_URL",
        help="The management API.",
        show_default="the private node's, else port 15672 (amqps: 15671) of the broker's host",
    ),
]


def _file(option: str, variable: str, help: str) -> Any:  # noqa: A002
    return Annotated[Path | None, typer.Option(option, metavar="FILE", envvar=variable, help=help, show_default="none")]


_OPTIONS: dict[str, Any] = {
    "url": _URL,
    "url_file": _file("--url-file", "RQTOOL_URL_FILE", "Read the broker's URL from this file; --url counts before it."),
    "tls_ca": _file("--tls-ca", "RQTOOL_TLS_CA", "PEM of the authority that signed the broker's certificate."),
    "tls_cert": _file("--tls-cert", "RQTOOL_TLS_CERT", "PEM of our own certificate, for brokers that ask for one."),
    "tls_key": _file("--tls-key", "RQTOOL_TLS_KEY", "PEM of its private key, where --tls-cert does not hold it."),
    "insecure": Annotated[
        bool,
        typer.Option(
            "--insecure", envvar="RQTOOL_INSECURE", help="Take any certificate: no protection from whoever is between."
        ),
    ],
}


def with_broker(*, api: bool = False) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a verb these options instead of its parameter `endpoint`; `api`: also that of the management API."""

    def decorate(verb: Callable[..., int]) -> Callable[..., int]:
        own = inspect.signature(verb, eval_str=True)
        options = _OPTIONS | ({"api_url": _API_URL} if api else {})
        shared = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if name == "insecure" else None,
                annotation=annotation,
            )
            for name, annotation in options.items()
        ]

        @wraps(verb)
        def run(context: typer.Context, **values: Any) -> int:
            given = {name: values.pop(name) for name in options}
            return verb(**values, endpoint=_find(context, **given))

        kept = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in own.parameters.items()
            if name != "endpoint"
        ]
        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        run.__signature__ = own.replace(parameters=[context, *kept, *shared])  # type: ignore[attr-defined]
        return run

    return decorate


def _find(
    context: typer.Context,
    url: str | None,
    url_file: Path | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
    api_url: str | None = None,
) -> Endpoint:
    from rqtool.endpoint.find import find_endpoint
    from rqtool.endpoint.tls import TLSOptions

    if url_file is not None and _typed(context, "url_file") and _typed(context, "url"):
        raise UsageError("--url and --url-file contradict each other", "Use one of the two")
    if url_file is not None and _typed(context, "url_file"):
        url = None  # what is on the command line counts before the environment
    tls = TLSOptions(tls_ca, tls_cert, tls_key, insecure)
    private = None
    if not (url or url_file):
        from rqtool.private_broker.cluster import private_endpoint  # 20 ms

        private = private_endpoint()
    endpoint = find_endpoint(url, api_url, url_file=url_file, private=private, tls=tls)
    if insecure:
        complain("--insecure: nobody checks who answers; whoever is between can read and change everything.")
    elif tls.given and endpoint.tls is None:
        complain("no address begins with amqps:// or https://: nothing is encrypted, and the --tls options do nothing.")
    return endpoint


def _typed(context: typer.Context, name: str) -> bool:
    """Whether the option stands on the command line, and not in the environment."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
