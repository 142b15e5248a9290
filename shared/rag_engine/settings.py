"""The only reader of the environment. Every setting can also stand in a file named `.env`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Final, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rag_engine.errors import ConfigurationError

_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+")


def listed(value: str) -> list[str]:
    """The parts of a setting that has several, with commas between."""
    return [one.strip() for one in value.split(",") if one.strip()]


def _default_data_dir() -> Path:
    return platformdirs.user_data_path("rag-engine", appauthor=False)


class Settings(BaseSettings):
    """All settings, by the environment variable `RAG_` and the name in capitals.

    `LOG_LEVEL`, `LOG_FORMAT`, `DEBUG` and those that begin with `NEO4J_` have no prefix.
    """

    model_config = SettingsConfigDict(
        env_prefix="RAG_",
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,  # `RAG_DATA_DIR=` in a copied .env means the default
        extra="ignore",
        frozen=True,
    )

    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Folder of the databases and originals. Default: the platform's data folder.",
    )
    embedding_model: str = Field(
        default="",
        description="A folder with an ONNX sentence model, or its name on a model hub. "
        "Default: the all-MiniLM-L6-v2 that is installed along.",
    )
    embedding_threads: int = Field(
        default=0, ge=0, description="Threads of the embedding model; 0 for all cores."
    )
    llm_base_url: str = Field(
        default="",
        description="An OpenAI-compatible endpoint that writes the answers, for example "
        "http://localhost:11434/v1. Without one, answers quote the documents.",
    )
    llm_model: str = Field(default="", description="The model to ask there.")
    llm_api_key: SecretStr = Field(default=SecretStr(""), description="The key it wants, if any.")
    llm_timeout_seconds: float = Field(
        default=120.0, gt=0, description="Longest wait for the next piece of a reply, in seconds."
    )
    chunk_target_tokens: int = Field(
        default=200, ge=16, description="What chunks of longer texts come close to, in tokens."
    )
    chunk_overlap_tokens: int = Field(
        default=40, ge=0, description="How much of a chunk the next one repeats at most, in tokens."
    )
    context_tokens: int = Field(
        default=6000, ge=100, description="How much text an answer may rest on, in tokens."
    )
    context_passages: int = Field(
        default=20, ge=1, description="How many passages an answer may rest on."
    )
    worker_concurrency: int = Field(
        default=4, ge=1, le=64, description="Documents that are ingested at a time."
    )
    worker_lease_seconds: float = Field(
        default=60.0,
        ge=10,
        description="How long nothing may be heard of a worker on another machine before others go "
        "on with what it had in hand, in seconds.",
    )
    worker_metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="The port on which `rag-engine worker` answers `/metrics` and `/health`; 0 for "
        "none. Give each worker of a machine its own.",
    )
    worker_metrics_host: str = Field(
        default="127.0.0.1",
        description="The address for that. It asks for no key: let strangers not reach it.",
    )
    parser_max_bytes: int = Field(
        default=200 * 1024 * 1024, gt=0, description="Largest document, in bytes."
    )
    parser_max_pages: int = Field(
        default=5_000, gt=0, description="Most pages, slides, sheets or archive members."
    )
    parser_max_unpacked_bytes: int = Field(
        default=1024 * 1024 * 1024,
        gt=0,
        description="Most bytes that an Office document, EPUB or ZIP may unpack to.",
    )
    parser_max_memory_bytes: int = Field(
        default=3 * 1024 * 1024 * 1024, gt=0, description="Most memory of the parsing process."
    )
    parser_timeout_seconds: float = Field(
        default=120.0, gt=0, description="Longest time without progress in parsing, in seconds."
    )
    parser_ocr: bool = Field(default=True, description="Recognise text in scans and images.")
    neo4j_uri: str = Field(
        default="",
        validation_alias="NEO4J_URI",
        description="A Neo4j server (5.15 or newer) that keeps the workspaces in place of the data "
        "folder, for example neo4j://localhost:7687; +s after neo4j or bolt means TLS.",
    )
    neo4j_username: str = Field(
        default="neo4j", validation_alias="NEO4J_USERNAME", description="Its user."
    )
    neo4j_password: SecretStr = Field(
        default=SecretStr(""),
        validation_alias="NEO4J_PASSWORD",
        description="That user's password.",
    )
    neo4j_database: str = Field(
        default="",
        validation_alias="NEO4J_DATABASE",
        description="Name of the database there. Default: the user's own.",
    )
    neo4j_ca_file: str = Field(
        default="",
        validation_alias="NEO4J_CA_FILE",
        description="A file of certificates (PEM) that vouch for the server, if the system's do "
        "not; the address is then written without +s.",
    )
    neo4j_max_connections: int = Field(
        default=50,
        ge=2,
        validation_alias="NEO4J_MAX_CONNECTIONS",
        description="Connections to the server that a process opens at most.",
    )
    neo4j_connect_seconds: float = Field(
        default=15.0,
        gt=0,
        validation_alias="NEO4J_CONNECT_SECONDS",
        description="Longest wait for a connection, in seconds.",
    )
    neo4j_retry_seconds: float = Field(
        default=30.0,
        ge=0,
        validation_alias="NEO4J_RETRY_SECONDS",
        description="How long after its first failure a write is tried again, in seconds.",
    )
    neo4j_transaction_seconds: float = Field(
        default=120.0,
        gt=0,
        validation_alias="NEO4J_TRANSACTION_SECONDS",
        description="Longest time of one transaction on the server, in seconds.",
    )
    neo4j_kept_seconds: float = Field(
        default=600.0,
        ge=10,
        validation_alias="NEO4J_KEPT_SECONDS",
        description="How long what was replaced or deleted stays in the database for questions "
        "that began before, in seconds.",
    )
    neo4j_exact_chunks: int = Field(
        default=1_000_000,
        ge=0,
        validation_alias="NEO4J_EXACT_CHUNKS",
        description="Up to how many passages of a workspace are searched exactly, with their vectors "
        "in memory. Beyond, Neo4j's vector index gives the candidates, and answers say so.",
    )
    api_host: str = Field(
        default="127.0.0.1", description="The address that `rag-engine serve` listens on."
    )
    api_port: int = Field(default=8000, ge=0, le=65535, description="The port it listens on.")
    admin_key: SecretStr = Field(
        default=SecretStr(""),
        description="A key for everything over HTTP, at least 16 characters; others are made with it, "
        "or with `rag-engine keys create`.",
    )
    api_max_body_bytes: int = Field(
        default=256 * 1024 * 1024, gt=0, description="Longest body of a request, in bytes."
    )
    api_body_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Longest silence in the middle of a request, in seconds. Bodies that come with less "
        "than 1,000 bytes a second for longer are refused too.",
    )
    api_request_seconds: float = Field(
        default=300.0,
        gt=0,
        description="Longest time from a whole request to the end of its response, in seconds; what "
        "is done for it is given up then. Downloads and the events of documents have no such limit.",
    )
    api_max_requests: int = Field(
        default=256,
        ge=1,
        description="Requests that are answered at a time; more are refused with 503.",
    )
    api_search_processes: int = Field(
        default=1,
        ge=0,
        le=64,
        description="Processes that look for passages beside the one that serves, so that questions "
        "that come at the same time hold up nobody. Each is started when it is needed and holds a "
        "copy of what is held in memory of the embedded store. With Neo4j there are none.",
    )
    api_max_requests_per_key: int = Field(
        default=64,
        ge=1,
        description="Requests of one key that are answered at a time; more are refused with 429. "
        "Without keys it is one address; programs on this machine then have no such limit.",
    )
    api_requests_per_minute: int = Field(
        default=6_000,
        ge=0,
        description="Requests that one key (or address, as above) may send within a minute to one "
        "process; more are refused with 429. 0 for any number.",
    )
    api_root_path: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Where a proxy shows the server, for example /rag; whether it takes that off before "
        "it passes requests on makes no difference.",
    )
    api_trusted_proxies: str = Field(
        default="",
        description="Addresses or networks of proxies, with commas between, whose X-Forwarded-For and "
        "X-Forwarded-Proto are believed, for example 10.0.0.0/8. Others' are passed over.",
    )
    api_cors_origins: str = Field(
        default="",
        description="Origins of web pages that may use the server from a browser, with commas between, "
        "for example https://app.example; * for all, where keys are asked for. Default: only its own.",
    )
    api_drain_seconds: int = Field(
        default=20,
        ge=0,
        description="How long answers that are under way may go on when the server is told to stop, "
        "in seconds.",
    )
    api_reload: bool = Field(
        default=False,
        validation_alias="API_RELOAD",
        description="For development: `rag-engine serve` starts anew when its own sources change.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="WARNING", validation_alias="LOG_LEVEL", description="What is logged to stderr."
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        validation_alias="LOG_FORMAT",
        description="Lines for people, or an object of JSON each, with the request's id.",
    )
    debug: bool = Field(
        default=False, validation_alias="DEBUG", description="Show tracebacks of errors."
    )

    @field_validator("api_trusted_proxies")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for one in listed(value):
            ip_network(one)
        return value

    @field_validator("api_cors_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for one in listed(value):
            if one != "*" and not _ORIGIN.fullmatch(one):
                raise ValueError(f"{one!r} is no origin; write for example https://app.example")
        return value

    @field_validator("data_dir")
    @classmethod
    def _at_home(cls, value: Path) -> Path:
        """`~` is the home folder in a `.env` file too, where no shell replaces it."""
        return value.expanduser()


def load(**overrides: object) -> Settings:
    """Read the settings; what is given here outranks the environment.

    A secret may stand in a file, which the variable with `_FILE` behind its name names: the
    environment of a process is easier to come by than a file that only it can read.

    Raises:
        ConfigurationError: Naming each variable with an unusable value.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**_secrets_in_files(os.environ), **given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from error


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"RAG_{name.upper()}"


def _secrets_in_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The secrets that stand in files, by what `Settings` takes them as."""
    found = {}
    for name, field in Settings.model_fields.items():
        variable = variable_of(name)
        path = environment.get(f"{variable}_FILE")
        if field.annotation is not SecretStr or not path:
            continue
        if environment.get(variable):
            raise ConfigurationError(
                f"Both {variable} and {variable}_FILE are set. Unset one of them."
            )
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{variable}_FILE={path!r} cannot be read ({error}). Name a text file that holds "
                "the secret and nothing else, which this process may read."
            ) from error
        found[variable if field.validation_alias else name] = text.rstrip("\r\n")
    return found


def secrets_of(settings: Settings) -> frozenset[str]:
    """What must be read in no log: the values of all settings that are secret."""
    values = [getattr(settings, name) for name in type(settings).model_fields]
    found = {one.get_secret_value() for one in values if isinstance(one, SecretStr)}
    return frozenset(found - {""})


def told(settings: Settings) -> dict[str, str]:
    """The settings that were set, by their variables, without secrets."""
    found = {}
    for name in sorted(settings.model_fields_set):
        value = getattr(settings, name)
        if not isinstance(value, SecretStr):
            found[variable_of(name)] = str(value)
    return found


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0])
        variable = name if name.isupper() else f"RAG_{name.upper()}"
        lines.append(f"{variable}={problem['input']!r} cannot be used: {problem['msg'].lower()}.")
    return " ".join([*lines, "Correct it in the environment or in .env."])
