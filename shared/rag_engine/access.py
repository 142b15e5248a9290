"""Who may do what: keys are made, shown once, checked and revoked here. Every service asks it.

A token is `rag-<id>-<secret>`. Only the hash of the secret is stored, and compared in constant
time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Collection
from typing import Final

from rag_engine.core.keys import Key, Scope
from rag_engine.core.submissions import check_workspace
from rag_engine.errors import InvalidRequest, NotFound
from rag_engine.ports.storage import Control

BOOTSTRAP: Final = "bootstrap"
"""Id of the key that the environment gives, which no store knows."""

_PREFIX: Final = "rag"
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_REMEMBERED_SECONDS: Final = 1.0
_SHORTEST: Final = 16
_LONGEST_NAME: Final = 200


class Access:
    """The keys of an installation.

    Args:
        control: Where they are kept.
        admin_token: A key for everything that the operator gives, or "". At least 16 characters.
        clock: Seconds since the epoch.

    Raises:
        InvalidRequest: The operator's key is too short.
    """

    def __init__(
        self, control: Control, *, admin_token: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        if admin_token and len(admin_token) < _SHORTEST:
            raise InvalidRequest(
                f"RAG_ADMIN_KEY is shorter than {_SHORTEST} characters, so that it could be guessed. "
                "Make one with: openssl rand -hex 32"
            )
        self._control = control
        self._clock = clock
        self._admin = _admin_key(admin_token) if admin_token else None
        self._known: dict[str, Key] = {}
        self._read_at = float("-inf")

    async def key_of(self, token: str) -> Key | None:
        """The key that a token is of, or `None`. A key that was revoked counts for a second more."""
        if self._admin is not None and hmac.compare_digest(_hash(token), self._admin.hash):
            return self._admin
        prefix, _, rest = token.partition("-")
        id, _, secret = rest.partition("-")
        key = (await self._keys()).get(id)
        if prefix != _PREFIX or key is None:
            return None
        return key if hmac.compare_digest(_hash(secret), key.hash) else None

    async def any(self) -> bool:
        """Whether there is any key, so that nobody is let in without one."""
        return self._admin is not None or bool(await self._control.keys())

    async def keys(self) -> list[Key]:
        """All keys in the store, the oldest first."""
        return await self._control.keys()

    async def make(
        self, name: str, scopes: Collection[Scope], workspaces: Collection[str] = ()
    ) -> tuple[Key, str]:
        """Make a key; return it and its token, which nobody can show again.

        Raises:
            InvalidRequest: It has no name, may do nothing, or a workspace cannot have that name.
        """
        if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
            raise InvalidRequest(f"{name!r} names no key. Say in a few words what it is for.")
        if not scopes:
            raise InvalidRequest("A key must be allowed something. Give a scope, for example read.")
        for one in workspaces:
            check_workspace(one)
        if Scope.ADMIN in scopes and workspaces:
            raise InvalidRequest(
                "A key with the scope admin is for all workspaces. Leave them out, or give read and "
                "write."
            )
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        key = Key(
            id=secrets.token_hex(_ID_BYTES),
            name=name.strip(),
            hash=_hash(secret),
            scopes=frozenset(scopes),
            workspaces=frozenset(workspaces),
            made_at=self._clock(),
        )
        await self._control.add_key(key)
        self._forget()
        return key, f"{_PREFIX}-{key.id}-{secret}"

    async def revoke(self, id: str) -> None:
        """Let a key open nothing any more.

        Raises:
            NotFound: There is none of that id.
        """
        if not await self._control.remove_key(id):
            raise NotFound(
                f"There is no key {id!r}. List those there are with: rag-engine keys list"
            )
        self._forget()

    async def _keys(self) -> dict[str, Key]:
        now = self._clock()
        if not 0 <= now - self._read_at < _REMEMBERED_SECONDS:  # a clock may be set back
            self._known = {one.id: one for one in await self._control.keys()}
            self._read_at = now
        return self._known

    def _forget(self) -> None:
        self._read_at = float("-inf")


def _admin_key(token: str) -> Key:
    return Key(
        id=BOOTSTRAP, name="RAG_ADMIN_KEY", hash=_hash(token), scopes=frozenset({Scope.ADMIN})
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
