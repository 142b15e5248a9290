"""What looks below the words of a store: is what lies on the disk still what was written?

A store that answers may be damaged all the same: a counter that no longer counts, a vector with a
flipped bit. An `Inspector` finds such damage by checking everything against everything it is
derived from, and repairs what is derived.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from rag_engine.core.models import Chunk, Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from rag_engine.ports.storage import Vectors


class Remedy(StrEnum):
    """How damage can be repaired."""

    REBUILD = "rebuild"  # it is derived from what is whole, and is made again
    EMBED = "embed"  # the text is whole: its vector and its words are made again
    PARSE = "parse"  # the original is whole: its text is made again
    INGEST = "ingest"  # the original is whole: its document is ingested again
    STORE = "store"  # the file it came from still has the same bytes: they are stored again
    SALVAGE = "salvage"  # the file is broken: its documents are listed anew and ingested again
    NONE = "none"  # nothing here has it any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something that is not what it should be.

    Attributes:
        check: The check that found it.
        message: What is wrong with what, in one sentence.
        remedy: How it can be repaired.
        workspace: Where it is; "" for what belongs to none.
        document_id: The document it belongs to, if it belongs to one.
        version: The number of its version, unless it is the one that answers.
        place: Where the inspector finds it again.
    """

    check: str
    message: str
    remedy: Remedy
    workspace: str = ""
    document_id: str | None = None
    version: int | None = None
    place: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checking:
    """A check that begins now, or cannot be made.

    Attributes:
        check: Its name.
        skipped: Why it is not made; "" if it is.
    """

    check: str
    skipped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hollow:
    """A chunk, or an entity's key, whose vector is to be made again.

    Attributes:
        place: Where it goes.
        chunk: The chunk, with the title of its document; `None` for an entity.
        key: The entity's key; "" for a chunk.
    """

    place: int
    chunk: Chunk | None = None
    title: str | None = None
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """What fills a `Hollow`: a vector, shape `(dimensions,)`, and for a chunk its lexemes."""

    vector: Vectors
    lexemes: str = ""


class Inspection(Protocol):
    """One consistent view of a workspace, below the words of `Reader`."""

    def damages(self) -> AsyncIterator[Damage | Checking]:
        """Check everything that the store itself can tell, in constant memory."""
        ...

    def versions(self) -> AsyncIterator[tuple[Version, bool]]:
        """Every version, and whether it is the one that answers."""
        ...

    async def version(self, document_id: str, number: int | None = None) -> Version | None:
        """A version of a document; without a number the one that answers."""
        ...

    async def chunks(self, document_id: str) -> list[Chunk]:
        """The visible chunks of a document by ordinal."""
        ...


class Inspector(Protocol):
    """Checks and repairs the workspaces of a place, whatever model made their vectors."""

    async def workspaces(self) -> list[str]:
        """The names of all workspaces that can be read, listed or not, sorted."""
        ...

    async def listing(self) -> list[Damage]:
        """What is wrong with the list of workspaces, and which of them cannot be read."""
        ...

    async def relist(self) -> None:
        """Make the list of workspaces again from the workspaces themselves."""
        ...

    def open(self, workspace: str) -> AbstractAsyncContextManager[Inspection]:
        """Look at a workspace as of one moment.

        Raises:
            StoreCorrupt: It cannot be read at all.
        """
        ...

    async def repair(
        self,
        workspace: str,
        damages: Sequence[Damage],
        fill: Callable[[Sequence[Hollow]], Awaitable[Sequence[Filling]]],
    ) -> None:
        """Repair what these damages need, in one transaction.

        What is derived is made again. Of damaged evidence nothing remains; the documents it
        belonged to, and those of other damages with `Remedy.INGEST`, are no longer what they were
        submitted as: submitting them again gives them a new version.

        Args:
            workspace: Where.
            damages: As `Inspection.damages` found them.
            fill: Makes vectors and words again.
        """
        ...

    async def can_salvage(self, workspace: str) -> bool:
        """Whether any document can be read from a broken workspace."""
        ...

    async def forget(self, workspace: str) -> None:
        """Take a workspace that is lost off the list, so that it can begin anew."""
        ...

    async def salvage(self, workspace: str, fingerprint: str) -> list[Damage]:
        """Set a broken workspace aside and begin it anew, with the documents that can be read from it.

        All of them wait in it from its beginning, for the model that made the vectors that are lost.
        Of a workspace of which nothing can be read nothing is touched.

        Args:
            workspace: Which one.
            fingerprint: Of the pipeline that will ingest the documents.

        Returns:
            What could not be read.

        Raises:
            StoreUnavailable: Another process uses it.
        """
        ...
