"""A broker beside that of the run, for the tests that kill it and for those that need TLS: one start for both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from rqtool.private_broker.cluster import PrivateBroker
from rqtool.private_broker.node import Node
from rqtool.private_broker.ports import claim_port


@dataclass(frozen=True)
class Secured:
    """A broker that may be killed. It speaks TLS, too, and wants a certificate of AMQP clients; the files are PEM."""

    broker: PrivateBroker
    amqps_port: int
    https_port: int
    ca: Path
    client: Path

    @property
    def node(self) -> Node:
        """It, running."""
        return self.broker.start()[0]

    @property
    def login(self) -> str:
        return f"{self.node.user}:{self.node.password}"

    def environment(self, host: str = "127.0.0.1") -> dict[str, str]:
        return {
            "RQTOOL_URL": f"amqps://{self.login}@{host}:{self.amqps_port}",
            "RQTOOL_API_URL": f"https://{self.login}@{host}:{self.https_port}",
            "RQTOOL_TLS_CA": str(self.ca),
            "RQTOOL_TLS_CERT": str(self.client),
        }


@pytest.fixture(scope="session")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """For the tests in the xdist_group "mortal broker". Its certificate is for 127.0.0.1 and for nothing else."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("client.example")
    files = {name: folder / f"{name}.pem" for name in ("ca", "server", "server_key", "client")}
    authority.cert_pem.write_to_path(files["ca"])
    server.cert_chain_pems[0].write_to_path(files["server"])
    server.private_key_pem.write_to_path(files["server_key"])
    client.private_key_and_cert_chain_pem.write_to_path(files["client"])
    amqps_port, https_port = claim_port(), claim_port()
    pems = {"cacertfile": files["ca"], "certfile": files["server"], "keyfile": files["server_key"]}
    settings = {f"ssl_options.{key}": str(path) for key, path in pems.items()}
    settings |= {f"management.ssl.{key}": str(path) for key, path in pems.items()}
    settings |= {
        "listeners.ssl.1": f"127.0.0.1:{amqps_port}",
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "true",
        "management.ssl.ip": "127.0.0.1",
        "management.ssl.port": str(https_port),
    }
    broker = PrivateBroker(folder / "broker", settings)
    try:
        yield Secured(broker, amqps_port, https_port, files["ca"], files["client"])
    finally:
        broker.stop()
