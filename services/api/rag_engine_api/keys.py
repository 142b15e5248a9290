"""Keys, for who administers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from rag_engine.access import Access
from rag_engine.core.keys import Key, Scope
from rag_engine_api.admission import ADMINISTERS
from rag_engine_api.schemas import Body, moment

router = APIRouter(prefix="/keys", tags=["keys"], dependencies=[ADMINISTERS])


class KeyBody(Body):
    """A key, without its secret."""

    id: str
    name: str
    scopes: list[Scope]
    workspaces: list[str] = Field(description="Where it may be used; empty for everywhere.")
    made_at: datetime | None

    @classmethod
    def of(cls, key: Key) -> KeyBody:
        """A key as JSON."""
        return cls(
            id=key.id,
            name=key.name,
            scopes=sorted(key.scopes),
            workspaces=sorted(key.workspaces),
            made_at=moment(key.made_at),
        )


class NewKey(Body):
    """What a key is to be."""

    name: str = Field(description="What it is for, in a few words.", examples=["Scanner"])
    scopes: list[Scope] = Field(min_length=1)
    workspaces: list[str] = Field(default_factory=list)


class MadeKey(Body):
    """A key that was made."""

    key: KeyBody
    token: str = Field(description="What to send. Nobody can show it again.")


class KeyList(Body):
    """Keys, the oldest first."""

    keys: list[KeyBody]


async def _access(request: Request) -> Access:
    access: Access = request.app.state.keyring
    return access


Keyring = Annotated[Access, Depends(_access)]


@router.get("")
async def list_(keyring: Keyring) -> KeyList:
    """The keys there are."""
    return KeyList(keys=[KeyBody.of(one) for one in await keyring.keys()])


@router.post("", status_code=201)
async def make(keyring: Keyring, body: NewKey) -> MadeKey:
    """Make a key."""
    key, token = await keyring.make(body.name, body.scopes, body.workspaces)
    return MadeKey(key=KeyBody.of(key), token=token)


@router.delete("/{id}", status_code=204)
async def revoke(keyring: Keyring, id: str) -> None:
    """Let a key open nothing any more, within a second."""
    await keyring.revoke(id)
