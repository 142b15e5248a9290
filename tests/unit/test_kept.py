"""What was looked up once is not looked up again, and no more is kept than is allowed."""

from __future__ import annotations

from rag_engine.core.kept import Lookup, keep


async def test_each_thing_is_found_once_and_so_is_that_there_is_none() -> None:
    asked: list[list[str]] = []

    async def find(keys: list[str]) -> dict[str, int]:
        asked.append(keys)
        return {key: len(key) for key in keys if key != "none"}

    lookup = Lookup(find, most=4)
    assert await lookup.of(["a", "none", "a", "bcd"]) == [1, None, 1, 3]
    assert await lookup.of(["bcd", "none", "ef"]) == [3, None, 2]
    assert await lookup.of([]) == []
    assert asked == [["a", "none", "bcd"], ["ef"]]
    # There is room for none more: it is found whenever it is asked for.
    assert await lookup.of(["ghij", "a"]) == await lookup.of(["ghij", "a"]) == [4, 1]
    assert asked[2:] == [["ghij"], ["ghij"]]


def test_where_there_is_no_room_it_begins_anew() -> None:
    known: dict[str, int] = {}
    assert [keep(known, name, len(name), most=2) for name in ("a", "bc", "def")] == [1, 2, 3]
    assert known == {"def": 3}
