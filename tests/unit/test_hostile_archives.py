"""Archives that are damaged, or made to do harm: refused, with the reason, before anything is written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import tempfile
import warnings
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from engines import put, small_engine
from rag_engine import Engine
from rag_engine.archive import export_workspace, import_workspace, opened
from rag_engine.errors import ArchiveRejected, DocumentUnreadable, StoreFull

PART = "documents/000000"
DOCUMENTS = f"{PART}.json"


def silent(doing: str, done: int, total: int) -> None:
    assert done <= total, doing


_MADE: list[bytes] = []
"""The archive, made once."""


@pytest.fixture
async def archive(tmp_path: Path) -> Path:
    """A whole archive of two documents and one that waits."""
    if not _MADE:
        _MADE.append((await _exported(tmp_path)).read_bytes())
    path = tmp_path / "whole.zip"
    path.write_bytes(_MADE[0])
    return path


async def _exported(tmp_path: Path) -> Path:
    engine = await small_engine(tmp_path / "first")
    await put(engine, "brand", "# Ada Brand\n\nAda Brand was born in Whitby.")
    await put(engine, "lamp", "# The lamp\n\nAda Brand built the lamp of Farne.")
    await engine.submit(b"Seals lie on Farne.", document_id="seals", source="seals.md")
    await export_workspace(engine, "default", tmp_path / "out.zip", silent)
    await engine.aclose()
    return tmp_path / "out.zip"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = await small_engine(tmp_path / "second")
    yield engine
    await engine.aclose()


async def refused(engine: Engine, archive: Path) -> str:
    """See that an archive is refused and nothing is written; return why."""
    with pytest.raises(ArchiveRejected) as caught:
        await import_workspace(engine, "default", archive, silent)
    assert await engine.control.workspaces() == []
    assert await engine.blobs.hashes() == []
    assert repr(str(archive)) in str(caught.value)
    assert str(caught.value).endswith("rag-engine export FILE")
    return str(caught.value)


def rewritten(
    archive: Path, change: dict[str, bytes | None], kind: int = zipfile.ZIP_STORED
) -> Path:
    """A copy with entries replaced, added, or (with `None`) left out."""
    path = archive.with_name("changed.zip")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w", kind) as new:
        for name in old.namelist():
            if name not in change:
                new.writestr(name, old.read(name))
        for name, content in change.items():
            if content is not None:
                new.writestr(name, content)
    return path


def changed(archive: Path, name: str, change: Callable[[Any], object]) -> Path:
    """A copy in which one JSON entry is another one."""
    with zipfile.ZipFile(archive) as file:
        record = json.loads(file.read(name))
    change(record)
    return rewritten(archive, {name: json.dumps(record).encode()})


async def test_a_whole_archive_is_not_refused(archive: Path, engine: Engine) -> None:
    done = await import_workspace(engine, "default", rewritten(archive, {}), silent)
    assert (done.written, done.waiting) == (2, 1)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x7fELF" * 100, None])
async def test_what_is_no_archive_is_refused(
    tmp_path: Path, engine: Engine, content: bytes | None
) -> None:
    path = tmp_path / "none.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((ArchiveRejected, DocumentUnreadable), match=r"none\.zip"):
        await import_workspace(engine, "default", path, silent)


async def test_an_archive_that_was_cut_is_refused_wherever(archive: Path, engine: Engine) -> None:
    content = archive.read_bytes()
    path = archive.with_name("cut.zip")
    for end in range(0, len(content), len(content) // 23):
        path.write_bytes(content[:end])
        await refused(engine, path)


async def test_an_archive_with_a_flipped_byte_is_refused_wherever_it_matters(
    archive: Path, engine: Engine
) -> None:
    """Within the entries; the names and sizes around them are there twice."""
    content = bytearray(archive.read_bytes())
    path = archive.with_name("flipped.zip")
    with zipfile.ZipFile(archive) as file:
        entries = [one for one in file.infolist() if one.compress_size > 20]  # no padding
    for entry in entries:
        at = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
        content[at] ^= 0x10
        path.write_bytes(content)
        content[at] ^= 0x10
        await refused(engine, path)


@pytest.mark.parametrize(
    "name",
    [
        "../../evil",
        "/etc/evil",
        "blobs/../../evil",
        f"blobs/{'0' * 63}",
        f"blobs/{'0' * 64}/../x",
        f"blobs/{'A' * 64}",
        "blobs\\evil",
        "documents/1.json",
        "documents/000000.npy",
        "documents/000000.json\n",
        "C:evil",
        "manifest.json/x",
        "evil/",
        "",
    ],
)
async def test_an_entry_that_leads_elsewhere_is_refused(
    archive: Path, engine: Engine, name: str
) -> None:
    path = rewritten(archive, {})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(zipfile.ZipInfo("x"), b"x")
    raw = path.read_bytes()
    with zipfile.ZipFile(path, "a") as file:
        file.filelist[-1].filename = name  # as no polite program would write it
        file._didModify = True  # type: ignore[attr-defined]
    assert path.read_bytes() != raw
    assert "does not belong there" in await refused(engine, path)


async def test_a_link_is_not_followed(archive: Path, engine: Engine, tmp_path: Path) -> None:
    """An entry may say that it is a link; its content is that of a blob, or it is refused."""
    info = zipfile.ZipInfo(f"blobs/{hashlib.sha256(b'x').hexdigest()}")
    info.external_attr = 0o120777 << 16
    path = rewritten(archive, {})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(info, b"/etc/passwd")
    await import_workspace(engine, "default", path, silent)
    assert not [one for one in (tmp_path / "second").rglob("*") if one.is_symlink()]


async def test_an_entry_that_is_there_twice_is_refused(archive: Path, engine: Engine) -> None:
    path = rewritten(archive, {})
    with zipfile.ZipFile(path, "a") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        file.writestr("manifest.json", b"{}")
    assert "an entry twice" in await refused(engine, path)


def bomb(archive: Path, name: str, size: int) -> Path:
    """A copy in which an entry unpacks to so many zeros, a thousand times its size in the file."""
    path = rewritten(archive, {name: None})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.file_size = size
        with file.open(info, "w") as entry:
            for _ in range(0, size, 1 << 20):
                entry.write(bytes(1 << 20))
    return path


async def test_an_entry_that_unpacks_to_more_than_memory_holds_is_refused(
    archive: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "MAX_ENTRY", 64 << 20)
    for name in (DOCUMENTS, f"{PART}.f16", "edits.json", "waiting.json", "manifest.json"):
        assert "unpacks to 68,157,440 bytes" in await refused(engine, bomb(archive, name, 65 << 20))


async def test_an_archive_that_unpacks_to_more_than_a_disk_holds_is_refused(
    archive: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "MAX_BYTES", 64 << 20)
    path = bomb(archive, f"blobs/{'0' * 64}", 65 << 20)
    assert "more than 67,108,864" in await refused(engine, path)


async def test_entries_that_share_their_bytes_are_refused(archive: Path, engine: Engine) -> None:
    """A table of contents that names one entry many times: each small, all together endless."""
    path = bomb(archive, f"blobs/{'0' * 64}", 4 << 20)
    with zipfile.ZipFile(path, "a") as file:
        [one] = [entry for entry in file.infolist() if entry.filename.endswith("0" * 64)]
        for number in range(1, 200):
            copy = zipfile.ZipInfo(f"blobs/{number:064x}")
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset"):
                setattr(copy, field, getattr(one, field))
            file.filelist.append(copy)
        file._didModify = True  # type: ignore[attr-defined]
    assert "overlap" in (await refused(engine, path)).lower()


async def test_an_entry_that_says_it_is_smaller_than_it_is_is_refused(
    archive: Path, engine: Engine
) -> None:
    path = bomb(archive, "edits.json", 1 << 20)
    content = path.read_bytes()
    said = struct.pack("<L", 1 << 20)
    assert content.count(said) >= 2
    path.write_bytes(content.replace(said, struct.pack("<L", 2)))
    assert "edits.json" in await refused(engine, path)


@pytest.mark.parametrize("flag", [0x1, 0x20, 0x40])
async def test_an_encrypted_or_patched_entry_is_refused(
    archive: Path, engine: Engine, flag: int
) -> None:
    with zipfile.ZipFile(rewritten(archive, {}), "a") as file:
        [one] = [entry for entry in file.infolist() if entry.filename == DOCUMENTS]
        one.flag_bits |= flag
        file._didModify = True  # type: ignore[attr-defined]
    content = bytearray(archive.with_name("changed.zip").read_bytes())
    content[one.header_offset + 6] |= flag
    archive.with_name("changed.zip").write_bytes(content)
    assert DOCUMENTS in await refused(engine, archive.with_name("changed.zip"))


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
async def test_an_entry_that_is_packed_in_another_way_is_refused(
    archive: Path, engine: Engine, kind: int, damaged: bool
) -> None:
    """Whole or not: what unpacks it has errors of its own."""
    path = rewritten(archive, {"edits.json": b"[" + b" " * 500 + b"]"}, kind)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        entry = file.getinfo("edits.json")
    for at in range(entry.compress_size if damaged else 0):
        content[entry.header_offset + 30 + len(entry.filename) + at] ^= 0xFF
    path.write_bytes(content)
    assert "packed in a way" in await refused(engine, path)


@pytest.mark.parametrize("where", [b"PK\x01\x02", b"PK\x03\x04"])
async def test_a_name_that_is_not_of_the_encoding_it_claims_is_refused(
    archive: Path, engine: Engine, where: bytes
) -> None:
    """In the table of contents, or before the entry."""
    content = bytearray(rewritten(archive, {}).read_bytes())
    name, flags = (46, 8) if where == b"PK\x01\x02" else (30, 6)
    starts = [at for at in range(len(content)) if content[at : at + 4] == where]
    [at] = [at for at in starts if content[at + name :].startswith(b"edits.json")]
    content[at + name] = 0xFF
    path = archive.with_name("changed.zip")
    for start in range(len(content)):  # the flag of the table of contents is the one that is read
        if content[start : start + 4] == b"PK\x01\x02":
            content[start + 9] |= 0x08
    content[at + flags + 1] |= 0x08
    path.write_bytes(content)
    await refused(engine, path)


async def test_a_full_disk_is_not_taken_for_an_archive_that_cannot_be_read(
    archive: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Originals are written where they will lie, and nowhere else before."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def nowhere(*given: object, **named: object) -> str:
        raise AssertionError("A temporary folder may be on a smaller disk.")

    monkeypatch.setattr(tempfile, "mkdtemp", nowhere)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreFull):
            await import_workspace(engine, "default", archive, silent)
    assert (await import_workspace(engine, "default", archive, silent)).written == 2


async def test_what_fails_while_an_archive_is_open_is_not_its_fault(archive: Path) -> None:
    with pytest.raises(BrokenPipeError):
        async with opened.opened_archive(archive):
            raise BrokenPipeError


@pytest.mark.parametrize("name", ["manifest.json", "edits.json", "waiting.json"])
async def test_an_archive_that_lacks_something_is_refused(
    archive: Path, engine: Engine, name: str
) -> None:
    assert f"lacks {name!r}" in await refused(engine, rewritten(archive, {name: None}))


@pytest.mark.parametrize("kind", ["json", "f16"])
async def test_an_archive_that_lacks_a_part_is_refused(
    archive: Path, engine: Engine, kind: str
) -> None:
    reason = await refused(engine, rewritten(archive, {f"{PART}.{kind}": None}))
    assert "the 1 parts it should" in reason


async def test_an_archive_that_lacks_an_original_is_refused(archive: Path, engine: Engine) -> None:
    with zipfile.ZipFile(archive) as file:
        blobs = [name for name in file.namelist() if name.startswith("blobs/")]
    assert len(blobs) == 5
    for name in blobs:
        assert f"lacks {name!r}" in await refused(engine, rewritten(archive, {name: None}))
        assert "not its own" in await refused(engine, rewritten(archive, {name: b"other"}))


@pytest.mark.parametrize(
    "change",
    [
        {"documents": "2"},
        {"documents": -1},
        {"documents": None},
        {"documents": 3},
        {"parts": 1 << 60},
        {"parts": -1},
        {"dimensions": "8"},
        {"model": 1},
        {"format": "tar"},
        {"version": 99},
        {"more": 1},
    ],
)
async def test_a_manifest_that_says_something_else_is_refused(
    archive: Path, engine: Engine, change: dict[str, object]
) -> None:
    path = changed(archive, "manifest.json", lambda record: record.update(change))
    if change == {"more": 1}:  # what a later release adds is no reason to refuse all the rest
        assert (await import_workspace(engine, "default", path, silent)).written == 2
    else:
        await refused(engine, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("document"),
        lambda record: record["chunks"][0].pop("ordinal"),
        lambda record: record["chunks"][0].update(ordinal=7),
        lambda record: record["chunks"][0].update(ordinal=1.0),
        lambda record: record["chunks"][0].update(pages=[1]),
        lambda record: record["chunks"][0].update(start=-1),
        lambda record: record["chunks"][0].update(tokens=1 << 80),
        lambda record: record["document"].update(size="large"),
        lambda record: record["document"].update(size=1 << 70),
        lambda record: record["document"].update(id="another"),
        lambda record: record["document"].update(parsed_hash="../evil"),
        lambda record: record["document"].update(version=-1),
        lambda record: record["submission"].update(content_hash="../evil"),
        lambda record: record["submission"].update(metadata={"tags": {"a": 1}}),
        lambda record: record["submission"].update(metadata={"depth": float("nan")}),
        lambda record: record["submission"].update(metadata={"$hidden": 1}),
        lambda record: record["submission"].update(title="a\0b"),
        lambda record: record["submission"].update(title="\ud800"),
        lambda record: record["extractions"].append({"mentions": [], "assertions": []}),
        lambda record: record["extractions"][0]["assertions"].append({"source": "no mention"}),
        lambda record: record["extractions"][0]["mentions"][0].update(weight=1 << 40),
        lambda record: record["extractions"][0]["mentions"][0].update(weight=-1),
        lambda record: record["extractions"][0]["mentions"][0].update(name=None),
    ],
)
async def test_a_damaged_document_is_named_and_nothing_is_written(
    archive: Path, engine: Engine, change: Callable[[Any], object]
) -> None:
    """Not even the documents before it."""
    path = changed(archive, DOCUMENTS, lambda part: change(part["documents"][1]))
    assert DOCUMENTS in await refused(engine, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda part: part["names"].append("a name without a vector"),
        lambda part: part["names"].pop(),
        lambda part: part["names"].__setitem__(0, ""),
        lambda part: part["documents"].pop(),
        lambda part: part.pop("names"),
    ],
)
async def test_vectors_that_do_not_belong_to_their_part_are_refused(
    archive: Path, engine: Engine, change: Callable[[Any], object]
) -> None:
    await refused(engine, changed(archive, DOCUMENTS, change))


@pytest.mark.parametrize("content", [b"", b"\0", b"\x7c\x00" * 8])
async def test_vectors_of_another_length_are_refused(
    archive: Path, engine: Engine, content: bytes
) -> None:
    await refused(engine, rewritten(archive, {f"{PART}.f16": content}))


async def test_a_vector_that_is_not_finite_is_refused(archive: Path, engine: Engine) -> None:
    with zipfile.ZipFile(archive) as file:
        values = bytearray(file.read(f"{PART}.f16"))
    values[2:4] = b"\x00\x7e"
    assert "not finite" in await refused(engine, rewritten(archive, {f"{PART}.f16": bytes(values)}))


@pytest.mark.parametrize("content", [b"{", b"\xff", b"", b"null", b"[" * 100_000, b'{"a":' * 9000])
@pytest.mark.parametrize("name", [DOCUMENTS, "edits.json", "waiting.json", "manifest.json"])
async def test_an_entry_that_is_not_of_its_format_is_refused(
    archive: Path, engine: Engine, name: str, content: bytes
) -> None:
    assert name in await refused(engine, rewritten(archive, {name: content}))


async def test_a_wish_that_no_store_could_hold_is_refused(archive: Path, engine: Engine) -> None:
    def change(wishes: Any) -> None:
        wishes[0]["submission"]["document_id"] = ""

    assert "waiting.json" in await refused(engine, changed(archive, "waiting.json", change))


async def test_an_edit_that_is_none_is_refused(archive: Path, engine: Engine) -> None:
    await refused(engine, rewritten(archive, {"edits.json": b'[{"source": "a"}]'}))
