"""The Neo4j server that tests use: the one `NEO4J_URI` names, else one that is started for this run.

`RAG_TEST_NEO4J` says which version to start; `make test` sets it. It runs in a container where a
Docker engine answers, and else takes Java 17 and Maven.
"""

from __future__ import annotations

import atexit
import gc
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import docker
from docker.errors import DockerException
from neo4j import GraphDatabase
from neo4j.exceptions import DriverError, Neo4jError
from testcontainers.community.neo4j import Neo4jContainer
from testcontainers.core.config import ConnectionMode, testcontainers_config

SCRIPT: Final = Path(__file__).parent / "support/neo4j/neo4j-server"
PASSWORD: Final = "not-a-secret"  # noqa: S105 - of servers that listen on this machine only
HEAP: Final = "512m"
PAGE_CACHE: Final = "128m"
START_SECONDS: Final = 120
_PORTS: Final = (15_000, 32_000)  # below those that Linux gives to clients

# Read now: the tests themselves see no variable that begins with RAG_ or NEO4J_.
_GIVEN: Final = {
    name: value
    for name, value in os.environ.items()
    if name in ("NEO4J_URI", "NEO4J_USERNAME", "NEO4J_PASSWORD", "RAG_TEST_NEO4J")
}


class NoServer(Exception):
    """There is none, and none can be started."""


class Machine(Protocol):
    """What a server runs on. It keeps its address and its data."""

    def stop(self) -> None:
        """End it in good order."""

    def kill(self) -> None:
        """End it as a power cut would."""

    def start(self) -> None:
        """Start it again, and wait until it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers.

    Attributes:
        machine: What it runs on, if it was started here.
    """

    uri: str
    username: str
    password: str
    machine: Machine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bare:
    """A process of this machine. See `Machine`.

    Attributes:
        home: Its folder.
        version: Of Neo4j.
        options: With which `neo4j-server` starts it.
    """

    home: Path
    version: str
    options: tuple[str, ...]

    def stop(self) -> None:
        _script("stop", "--home", self.home)

    def kill(self) -> None:
        _script("kill", "--home", self.home)

    def start(self) -> None:
        _script("start", self.version, "--home", self.home, *self.options)

    def remove(self) -> None:
        """End it, and forget its data."""
        with suppress(NoServer):
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contained:
    """A container. See `Machine`.

    Attributes:
        uri: Of the server in it.
    """

    container: Neo4jContainer
    uri: str

    def stop(self) -> None:
        self.container.get_wrapped_container().stop(timeout=60)

    def kill(self) -> None:
        self.container.get_wrapped_container().kill()

    def start(self) -> None:
        self.container.get_wrapped_container().start()
        until = time.monotonic() + START_SECONDS
        with GraphDatabase.driver(self.uri, auth=("neo4j", PASSWORD)) as driver:
            while True:
                try:
                    driver.execute_query("RETURN 1")
                    break
                except (DriverError, Neo4jError):
                    if time.monotonic() > until:
                        raise
                time.sleep(0.5)


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
        .with_env("NEO4J_server_bolt_advertised__address", f"127.0.0.1:{port}")
        .with_env("NEO4J_server_memory_heap_max__size", HEAP)
        .with_env("NEO4J_server_memory_pagecache_size", PAGE_CACHE)
    )
    atexit.register(container.stop)
    try:
        container.start()
    except (DockerException, TimeoutError, DriverError) as error:
        print(f"No Neo4j in a container: {error}", file=sys.stderr)
        return None
    uri = f"bolt://127.0.0.1:{port}"
    machine = _Contained(container=container, uri=uri)
    return Server(uri=uri, username="neo4j", password=PASSWORD, machine=machine)


def _docker_answers() -> bool:
    try:
        with closing(docker.from_env()) as client:
            return bool(client.ping())
    except DockerException:
        pass
    with warnings.catch_warnings():  # a client that meets no engine leaves its socket open
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
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
    port = free_port()
    ports = ("--bolt-port", str(port), "--http-port", str(free_port()))
    options = ("--password", PASSWORD, "--heap", HEAP, "--pagecache", PAGE_CACHE, "--no-apoc")
    home = Path(tempfile.mkdtemp(prefix="rag-engine-neo4j-"))
    machine = _Bare(home=home, version=version, options=(*ports, *options))
    atexit.register(machine.remove)
    machine.start()
    uri = f"bolt://127.0.0.1:{port}"
    return Server(uri=uri, username="neo4j", password=PASSWORD, machine=machine)


def free_port() -> int:
    """A port that nobody listens on, nor gets by chance as a client while the server is restarted."""
    while True:
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", random.randrange(*_PORTS)))
            port: int = one.getsockname()[1]
            return port


def _script(*arguments: str | Path) -> None:
    done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoServer(f"neo4j-server {arguments[0]} failed: {done.stderr[-2000:]}")
