"""Backups: all workspaces of a place in one folder, whole or not there.

    rag-engine-<time>/
        SHA256SUMS               of all that follows; `sha256sum --check` understands it
        backup.json              format, workspaces, what they held
        settings.env             settings that are set, without secrets
        workspaces/<name>.zip    an archive each (see `rag_engine.archive`)

A backup is made under another name, flushed to the disk, and renamed last: what has a backup's name
is one. Each workspace is as of one moment. Nothing stands still meanwhile, but no original is
deleted.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from rag_engine.archive import (
    Compared,
    Imported,
    Manifest,
    Progress,
    check_archive,
    check_model,
    compare,
    export_workspace,
    import_workspace,
)
from rag_engine.archive.files import flush, settle, unwritable, whole
from rag_engine.core.submissions import check_workspace
from rag_engine.engine import Engine
from rag_engine.errors import (
    ArchiveRejected,
    Conflict,
    InvalidRequest,
    NotFound,
    StoreUnavailable,
)

FORMAT: Final = "rag-engine-backup"
VERSION: Final = 1

INVENTORY: Final = "backup.json"
SETTINGS: Final = "settings.env"
SUMS: Final = "SHA256SUMS"

_TIME: Final = "%Y%m%dT%H%M%SZ"
_NAME: Final = re.compile(r"rag-engine-(\d{8}T\d{6}Z)")
_PARTIAL: Final = ".partial"
_SUM: Final = re.compile(r"([0-9a-f]{64})  ([\w./-]+)")
_BATCH: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A workspace in a backup."""

    name: str
    documents: int
    model: str
    dimensions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """`backup.json`.

    Attributes:
        kind: `archives`; `dump` is what `scripts/backup_neo4j.sh --dump` makes.
        made_at: In ISO 8601, in UTC.
    """

    format: str
    version: int
    kind: str
    made_at: str
    workspaces: tuple[Saved, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was made.

    Attributes:
        deleted: Older ones that went because of how many, or for how long, they are kept.
    """

    path: Path
    inventory: Inventory
    deleted: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Which backups are kept. The one just made always is.

    Attributes:
        count: So many of the newest; `None` for all.
        days: Those made within so many days; `None` for all.
    """

    count: int | None = None
    days: int | None = None


async def back_up(
    engine: Engine,
    folder: Path,
    *,
    settings: Mapping[str, str],
    now: datetime,
    kept: Kept,
    progress: Progress,
) -> Backup:
    """Back up all workspaces. Nobody else may do so in this folder meanwhile.

    Args:
        engine: Of the place.
        folder: Where backups are kept; it is created.
        settings: What `settings.env` is to say. No secrets.
        now: The time, in UTC.
        kept: Which older backups stay. None goes unless the new one is whole.
        progress: Told how far it is.

    Raises:
        NotFound: There is no workspace.
        BlobMissing: An original is gone.
        StoreFull: The disk is full.
        StoreUnavailable: The folder cannot be written.
    """
    names = await engine.control.workspaces()
    if not names:
        raise NotFound("There is no workspace to back up. Begin with: rag-engine ingest PATH")
    try:
        path = await whole(_prepared, folder, now)
        partial = path.with_name(f".{path.name}{_PARTIAL}")
        try:
            saved = []
            for name in names:
                file = partial / "workspaces" / f"{name}.zip"
                manifest = await export_workspace(engine, name, file, _naming(progress, name))
                saved.append(_saved(name, manifest))
            inventory = Inventory(
                format=FORMAT,
                version=VERSION,
                kind="archives",
                made_at=now.isoformat(timespec="seconds"),
                workspaces=tuple(saved),
            )
            await whole(_complete, partial, path, inventory, settings)
        finally:
            await whole(shutil.rmtree, partial, ignore_errors=True)
        deleted = await whole(_delete_old, path, now, kept)
    except OSError as error:
        raise unwritable(folder, error) from error
    return Backup(path=path, inventory=inventory, deleted=deleted)


def _saved(name: str, manifest: Manifest) -> Saved:
    return Saved(
        name=name,
        documents=manifest.documents,
        model=manifest.model,
        dimensions=manifest.dimensions,
    )


def _naming(progress: Progress, workspace: str) -> Progress:
    return lambda doing, done, total: progress(f"{doing} {workspace}", done, total)


def _prepared(folder: Path, now: datetime) -> Path:
    """A free name for a backup; what earlier attempts left behind is deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".rag-engine-*{_PARTIAL}"):
        shutil.rmtree(left)
    while (path := folder / f"rag-engine-{now:{_TIME}}").exists():
        now += timedelta(seconds=1)
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    partial.mkdir(mode=0o700)  # it holds every document there is
    (partial / "workspaces").mkdir()
    return path


def _complete(partial: Path, path: Path, inventory: Inventory, settings: Mapping[str, str]) -> None:
    (partial / INVENTORY).write_text(json.dumps(asdict(inventory), indent=2) + "\n", "utf-8")
    lines = [f"{name}={json.dumps(value)}\n" for name, value in settings.items()]
    head = "# The settings, without secrets: passwords and keys are not in the backup.\n"
    (partial / SETTINGS).write_text(head + "".join(lines), "utf-8")
    sums = [f"{_sum(partial / name)}  {name}\n" for name in _files(partial)]
    (partial / SUMS).write_text("".join(sums), "utf-8")
    for name in (INVENTORY, SETTINGS, SUMS, "workspaces"):
        flush(partial / name)
    settle(partial, path)


def _files(path: Path) -> list[str]:
    """All files of a backup but the one with the sums."""
    found = (one.relative_to(path).as_posix() for one in path.rglob("*") if not one.is_dir())
    return sorted(name for name in found if name != SUMS)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _delete_old(new: Path, now: datetime, kept: Kept) -> tuple[Path, ...]:
    """Delete backups that are no longer to be kept: never the new one.

    A clock that was wrong may have given others a later name.
    """
    found = (one for one in new.parent.iterdir() if _NAME.fullmatch(one.name) and one.is_dir())
    old = sorted(one for one in found if one.name != new.name)
    if kept.count is None and kept.days is None:
        return ()
    if kept.count is not None:
        old = old[: max(0, len(old) - (kept.count - 1))]
    if kept.days is not None:
        old = [one for one in old if now - _made_at(one) > timedelta(days=kept.days)]
    for one in old:
        # Not under its name, so that nobody takes half of it for a backup.
        shutil.rmtree(one.rename(one.with_name(f".{one.name}{_PARTIAL}")))
    return tuple(old)


def _made_at(path: Path) -> datetime:
    return datetime.strptime(path.name, f"rag-engine-{_TIME}").replace(tzinfo=UTC)


async def check_backup(path: Path, progress: Progress) -> Inventory:
    """Read a backup from end to end.

    Raises:
        ArchiveRejected: It is not whole, or was changed since it was made.
        StoreUnavailable: It cannot be read.
    """
    try:
        inventory = await whole(_checked, path, progress)
    except OSError as error:
        raise StoreUnavailable(
            f"The backup {str(path)!r} cannot be read ({error.strerror}). "
            "Check the path and its permissions."
        ) from error
    if inventory.kind != "archives":
        raise _rejected(
            path, f"it is a {inventory.kind!r}; restore it with scripts/restore_neo4j.sh"
        )
    for saved in inventory.workspaces:
        file = _file(path, saved.name)
        manifest = await check_archive(file, _naming(progress, saved.name))
        if _saved(saved.name, manifest) != saved:
            raise _rejected(path, f"{file.name!r} is not the archive that it should be")
    return inventory


def _file(path: Path, workspace: str) -> Path:
    return path / "workspaces" / f"{workspace}.zip"


def _checked(path: Path, progress: Progress) -> Inventory:
    if not (path / SUMS).is_file():
        raise _rejected(path, f"it has no {SUMS}")
    sums = {}
    for line in (path / SUMS).read_text("utf-8", "replace").splitlines():
        match = _SUM.fullmatch(line)
        if match is None:
            raise _rejected(path, f"{SUMS} has a line {line!r}")
        sums[match[2]] = match[1]
    files = _files(path)
    if sums.keys() != set(files):
        odd = min(sums.keys() ^ set(files))
        raise _rejected(path, f"{odd!r} is {'missing' if odd in sums else 'not one of its files'}")
    for number, name in enumerate(files):
        if (path / name).is_symlink() or _sum(path / name) != sums[name]:
            raise _rejected(path, f"{name!r} is not what was written")
        progress("checking sums", number + 1, len(files))
    inventory = _inventory(path)
    wanted = {f"workspaces/{saved.name}.zip" for saved in inventory.workspaces}
    if inventory.kind == "archives" and wanted != set(files) - {INVENTORY, SETTINGS}:
        raise _rejected(path, "it does not hold the workspaces that it should")
    return inventory


def _inventory(path: Path) -> Inventory:
    try:
        inventory = TypeAdapter(Inventory).validate_json(
            (path / INVENTORY).read_bytes(), strict=True
        )
        for saved in inventory.workspaces:
            check_workspace(saved.name)
    except FileNotFoundError:
        raise _rejected(path, f"it has no {INVENTORY}") from None
    except (ValidationError, InvalidRequest) as error:
        raise _rejected(path, f"{INVENTORY} cannot be read: {error}") from error
    if inventory.format != FORMAT or inventory.version != VERSION:
        raise _rejected(path, f"it is {inventory.format!r} version {inventory.version!r}")
    return inventory


def _rejected(path: Path, reason: str) -> ArchiveRejected:
    return ArchiveRejected(
        f"{str(path)!r} is not a usable backup: {reason}. Take another one of those in "
        f"{str(path.parent)!r}."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A workspace that was restored, and found to hold what its archive holds."""

    name: str
    imported: Imported
    compared: Compared


async def restore(
    engine: Engine,
    path: Path,
    *,
    force: bool,
    progress: Progress,
    told: Callable[[Restored], object] = lambda restored: None,
) -> tuple[Restored, ...]:
    """Restore all workspaces of a backup; others stay as they are.

    All of the backup is checked before anything is written, and each workspace is compared with its
    archive when it is there.

    Args:
        engine: Of the place.
        path: The backup.
        force: Empty workspaces of these names first, where they hold something.
        progress: Told how far it is.
        told: Told of each workspace that is restored.

    Raises:
        ArchiveRejected: The backup is not whole. Nothing was written.
        ModelMismatch: Its vectors were made by another model. Nothing was written.
        Conflict: A workspace holds something, and `force` is false. Nothing was written.
        StoreCorrupt: A workspace does not hold what was written to it.
    """
    inventory = await check_backup(path, progress)
    for saved in inventory.workspaces:
        check_model(engine, path, saved)
    known = set(await engine.control.workspaces())
    names = [saved.name for saved in inventory.workspaces]
    full = [name for name in names if name in known and not await _is_empty(engine, name)]
    if full and not force:
        raise Conflict(
            f"Workspace {full[0]!r} holds something already. Add --force to have it replaced, or "
            "restore into another data folder or database."
        )
    restored = []
    for name in names:
        if name in full:
            await _empty(engine, name)
        shown = _naming(progress, name)
        imported = await import_workspace(engine, name, _file(path, name), shown, checked=True)
        compared = await compare(engine, name, _file(path, name), shown)
        restored.append(Restored(name=name, imported=imported, compared=compared))
        told(restored[-1])
    return tuple(restored)


async def _is_empty(engine: Engine, name: str) -> bool:
    opened = await engine.control.open(name)
    if await opened.queue.versions(limit=1):
        return False
    async with opened.store.contents() as contents:
        return not contents.documents and not await contents.edits()


async def _empty(engine: Engine, name: str) -> None:
    opened = await engine.control.open(name)
    while versions := await opened.queue.versions(limit=_BATCH):
        await opened.store.delete([version.document_id for version in versions])
    async with opened.store.contents() as contents:
        edits = await contents.edits()
    for one in reversed(edits):
        await opened.store.undo(one.edit.id)
