"""TLS for AMQP and the management API: which server certificates we accept, and which client certificate we present.

https://www.rabbitmq.com/docs/ssl
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from rqtool.errors import UsageError


@dataclass(frozen=True, slots=True)
class TLSOptions:
    """PEM files, and whether to accept any certificate. Without `ca` the system's certificate authorities count."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    insecure: bool = False

    @property
    def given(self) -> bool:
        return self != TLSOptions()


def tls_context(options: TLSOptions) -> ssl.SSLContext:
    """Return a context that verifies certificate and host name, unless `insecure`.

    Raises UsageError for a file that can't be used, such as a private key with a passphrase: there may be no user to
    type it.
    """
    if options.key is not None and options.cert is None:
        raise UsageError("--tls-key without --tls-cert", "Name the certificate of that key too")
    try:
        context = ssl.create_default_context(cafile=options.ca)
    except (OSError, ValueError) as error:
        raise _unusable("--tls-ca", options.ca, error, "Name a file with the certificate authority's PEM") from None
    if options.cert is not None:
        try:
            context.load_cert_chain(options.cert, options.key, password=_no_pass_phrase)
        except (OSError, ValueError) as error:
            what = "Name a PEM certificate with --tls-cert and its unencrypted key with --tls-key"
            raise _unusable("--tls-cert", options.cert, error, what) from None
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _no_pass_phrase() -> str:
    raise ValueError("its private key has a pass phrase")


def _unusable(option: str, path: Path | None, error: Exception, what_to_do: str) -> UsageError:
    # load_cert_chain does not say which of its two files it could not open.
    return UsageError(f"{option} {path} can't be used: {_reason(error)}", what_to_do)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return _plain(error.reason or "it is no PEM file of the right kind")
    return str(error.strerror if isinstance(error, OSError) else error)


def _plain(reason: str) -> str:
    return reason.replace("_", " ").lower()


def tls_words(error: ssl.SSLError) -> str:
    """Return why a handshake failed, in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return _reason(error)


def tls_words_in(text: str) -> str | None:
    """The same for an error that pika has as text, `[SSL: CERTIFICATE_REQUIRED] ...`; None for other errors."""
    reason = re.search(r"\[SSL: (\w+)\]", text)
    return None if reason is None else _plain(reason[1])


def tls_hint(text: str) -> str:
    """What a user can do about a failure that `tls_words` describes."""
    if "certificate is not accepted" in text:
        return "Name the authority that signed it with --tls-ca, and the host as the certificate does"
    if "certificate required" in text or "handshake failure" in text or "bad certificate" in text:
        return "If it asks for a certificate of ours, name one with --tls-cert and --tls-key"
    return "Is it the TLS port? Without TLS, write amqp:// or http://"
