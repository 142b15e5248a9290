"""Keys and their tokens."""

from __future__ import annotations

import pytest

from rag_engine.access import BOOTSTRAP, Access
from rag_engine.adapters.memory import MemoryControl
from rag_engine.core.keys import Key, Scope
from rag_engine.errors import InvalidRequest, NotFound


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def control(clock: Clock) -> MemoryControl:
    return MemoryControl(clock, "m", 8)


async def test_a_token_opens_what_its_key_says(control: MemoryControl, clock: Clock) -> None:
    access = Access(control, clock=clock)
    assert not await access.any()
    key, token = await access.make("  Scanner ", [Scope.WRITE], ["invoices"])
    assert (key.name, key.made_at) == ("Scanner", 1_000.0)
    assert await access.any()
    assert await access.key_of(token) == key
    assert key.allows(Scope.WRITE, "invoices")
    for scope, workspace in (
        (Scope.READ, "invoices"),
        (Scope.WRITE, "letters"),
        (Scope.WRITE, None),
        (Scope.ADMIN, "invoices"),
    ):
        assert not key.allows(scope, workspace)


async def test_nothing_but_the_whole_token_opens(control: MemoryControl, clock: Clock) -> None:
    access = Access(control, clock=clock)
    key, token = await access.make("One", [Scope.READ])
    other, _ = await access.make("Other", [Scope.ADMIN])
    secret = token.removeprefix(f"rag-{key.id}-")
    wrong = [
        "",
        "rag",
        "rag--",
        token[:-1],
        token + "x",
        token.upper(),
        secret,
        f"{key.id}-{secret}",
    ]
    wrong += [
        f"x-{key.id}-{secret}",
        f"rag-{other.id}-{secret}",
        f"rag-{key.id}-{key.hash}",
        "ü\ud800",
    ]
    for one in wrong:
        assert await access.key_of(one) is None, one


async def test_a_revoked_key_opens_nothing_within_a_second_anywhere(
    control: MemoryControl, clock: Clock
) -> None:
    access, elsewhere = Access(control, clock=clock), Access(control, clock=clock)
    key, token = await access.make("One", [Scope.READ])
    assert await elsewhere.key_of(token) == key
    await access.revoke(key.id)
    assert await access.key_of(token) is None
    clock.now += 1.0
    assert await elsewhere.key_of(token) is None
    with pytest.raises(NotFound, match="keys list"):
        await access.revoke(key.id)


async def test_a_key_made_elsewhere_opens_within_a_second(
    control: MemoryControl, clock: Clock
) -> None:
    here, elsewhere = Access(control, clock=clock), Access(control, clock=clock)
    assert await here.key_of("rag-0-0") is None
    key, token = await elsewhere.make("One", [Scope.READ])
    clock.now += 1.0
    assert await here.key_of(token) == key


async def test_the_operators_key_opens_everything_and_stands_in_no_store(
    control: MemoryControl, clock: Clock
) -> None:
    access = Access(control, admin_token="x" * 16, clock=clock)
    assert await access.any()
    key = await access.key_of("x" * 16)
    assert key is not None
    assert key.id == BOOTSTRAP
    assert all(key.allows(scope, place) for scope in Scope for place in (None, "any"))
    assert await access.keys() == []
    assert await access.key_of("x" * 15) is None
    with pytest.raises(InvalidRequest, match="RAG_ADMIN_KEY"):
        Access(control, admin_token="x" * 15)


def test_admin_includes_the_other_scopes() -> None:
    key = Key(id="a", name="a", hash="", scopes=frozenset({Scope.ADMIN}))
    assert all(key.allows(scope, place) for scope in Scope for place in (None, "any"))
