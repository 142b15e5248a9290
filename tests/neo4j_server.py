"""The Neo4j server that tests use: the one `NEO4J_URI` names, else one that is started for this run.

`RAG_TEST_NEO4J` says which version to start; `make test` sets it. It runs in a container where a
Docker engine answers, and else takes Java 17 and Maven.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import docker
from docker.errors import DockerException
from neo4j.exceptions import DriverError
from testcontainers.community.neo4j import Neo4jContainer
from testcontainers.core.config import ConnectionMode, testcontainers_config

SCRIPT: Final = Path(__file__).parent / "support/neo4j/neo4j-server"
PASSWORD: Final = "not-a-secret"  # noqa: S105 - of servers that listen on this machine only
HEAP: Final = "512m"
PAGE_CACHE: Final = "128m"

# Read now: the tests themselves see no variable that begins with RAG_ or NEO4J_.
_GIVEN: Final = {
    name: value
    for name, value in os.environ.items()
    if name in ("NEO4J_URI", "NEO4J_USERNAME", "NEO4J_PASSWORD", "RAG_TEST_NEO4J")
}


class NoServer(Exception):
    """There is none, and none can be started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers.

    Attributes:
        home: Its folder, if it was started here.
    """

    uri: str
    username: str
    password: str
    home: Path | None = None


class _Run:
    """What this run of the tests has found."""

    server: Server | None = None
    trouble: str = ""


def server() -> Server:
    """The server of this run; it is started when it is first asked for.

    Raises:
        NoServer: Saying what would bring one.
    """
    if _Run.server is None and not _Run.trouble:
        try:
            version = _GIVEN.get("RAG_TEST_NEO4J", "")
            _Run.server = _given() or _contained(version) or start(version)
        except NoServer as error:
            _Run.trouble = str(error)
    if _Run.server is None:
        raise NoServer(_Run.trouble)
    return _Run.server


def _given() -> Server | None:
    if not _GIVEN.get("NEO4J_URI"):
        return None
    return Server(
        uri=_GIVEN["NEO4J_URI"],
        username=_GIVEN.get("NEO4J_USERNAME", "neo4j"),
        password=_GIVEN.get("NEO4J_PASSWORD", ""),
    )


def _contained(version: str) -> Server | None:
    """A server of a version in a container, where a Docker engine can run one."""
    if not version or not _docker_answers():
        return None
    port = free_port()
    # Tests may talk to this machine alone, also where it is a container itself.
    testcontainers_config.connection_mode_override = ConnectionMode.docker_host
    container = (
        Neo4jContainer(f"neo4j:{version}", username="neo4j", password=PASSWORD)
        .with_bind_ports(7687, port)
        .with_env("NEO4J_server_memory_heap_max__size", HEAP)
        .with_env("NEO4J_server_memory_pagecache_size", PAGE_CACHE)
    )
    atexit.register(container.stop)
    try:
        container.start()
    except (DockerException, TimeoutError, DriverError) as error:
        print(f"No Neo4j in a container: {error}", file=sys.stderr)
        return None
    return Server(uri=f"bolt://127.0.0.1:{port}", username="neo4j", password=PASSWORD)


def _docker_answers() -> bool:
    try:
        with closing(docker.from_env()) as client:
            return bool(client.ping())
    except DockerException:
        return False


def start(version: str) -> Server:
    """Start a server of a version in a folder of its own; it ends with this process.

    Raises:
        NoServer: It cannot be started.
    """
    if not version:
        raise NoServer(
            "set NEO4J_URI, NEO4J_USERNAME and NEO4J_PASSWORD, or RAG_TEST_NEO4J=5.26.30 with a "
            "Docker engine, or Java 17 and Maven, to have one started (`make test` does)"
        )
    if missing := [tool for tool in ("java", "mvn", "flock") if shutil.which(tool) is None]:
        raise NoServer(
            f"no Docker engine answers, and {' and '.join(missing)} would have to be installed to "
            "start one without"
        )
    home = Path(tempfile.mkdtemp(prefix="rag-engine-neo4j-"))
    atexit.register(_end, home)
    port = free_port()
    ports = ["--bolt-port", str(port), "--http-port", str(free_port())]
    options = ["--password", PASSWORD, "--heap", HEAP, "--pagecache", PAGE_CACHE, "--no-apoc"]
    done = subprocess.run(
        [SCRIPT, "start", version, "--home", home, *ports, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NoServer(f"{version} did not start: {done.stderr[-2000:]}")
    return Server(uri=f"bolt://127.0.0.1:{port}", username="neo4j", password=PASSWORD, home=home)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _end(home: Path) -> None:
    subprocess.run([SCRIPT, "kill", "--home", home], capture_output=True, check=False)
    shutil.rmtree(home, ignore_errors=True)
