"""A document's name stands in a header and in the log: whatever it is, it makes no other line there."""

from __future__ import annotations

import json
import os
from email.message import Message
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest

from serving import served, serving

if TYPE_CHECKING:
    from pathlib import Path

    from rag_engine.engine import Engine

FARNE: Final = b"# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
NAMES: Final = (
    "a\r\nX-Evil: 1\r\n\r\n<script>.md",
    'a"; filename="evil.exe',
    "a\\b'c%0d%0aX-Evil: 1;d=.md",
    "\x1b[31mred\x07\x85\u2028\u202e.md",
    "résumé 🙂 説明.md",
    "長" * 1_300 + ".md",
    "a" * 4_000 + ".md",
)


def attachment(value: str) -> str | None:
    """The file name that a client reads from a `Content-Disposition`."""
    message = Message()
    message["Content-Disposition"] = value
    assert message.get_content_disposition() == "attachment"
    return message.get_filename()


@pytest.mark.parametrize("name", NAMES)
async def test_an_original_comes_back_under_its_name_and_no_other_header(
    engine: Engine, name: str
) -> None:
    # As a client sends it, and as `rag-engine ingest` takes it from a folder: with line ends.
    from_folder = "".join(one for one in name if one != "/")
    async with served(engine) as (_, client):
        files = {"files": (name, FARNE)}
        uploaded = await client.post("/api/v1/documents", files=files, data={"id": "uploaded"})
        assert uploaded.status_code == 202, uploaded.text
        source = uploaded.json()["versions"][0]["source"]
        assert source.isprintable()
        await engine.submit(FARNE, document_id="from a folder", source=from_folder)
        await engine.work()
        for id, shown in (("uploaded", source), ("from a folder", from_folder)):
            got = await client.get(f"/api/v1/documents/{quote(id)}/original")
            assert (got.status_code, got.content) == (200, FARNE)
            assert "x-evil" not in got.headers
            assert len(got.headers.get_list("content-disposition")) == 1
            value = got.headers["content-disposition"]
            assert value.isascii()
            assert value.isprintable()
            assert attachment(value) == shown
            assert got.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_name_makes_no_line_of_its_own_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    monkeypatch.setenv("LOG_FORMAT", form)
    evil = "a\r\n12:00:00 ERROR evil: \x1b[31m\u2028forged"
    with serving(tmp_path / "data") as (process, client):
        # No format: it fails, which is logged with its id; and requests are logged with their paths.
        body = {"id": evil, "text": "\0", "name": evil}
        client.post("/api/v1/documents/text", json=body)
        client.put(
            f"/api/v1/documents/{quote(evil, safe='')}", files={"file": (evil, os.urandom(64))}
        )
        with client.stream("GET", f"/api/v1/documents/{quote(evil, safe='')}/events") as events:
            assert "event: failed" in list(events.iter_lines())
        client.get(f"/api/v1/documents/{quote(evil, safe='')}", headers={"X-Workspace": "a\tb"})
        process.terminate()
        _, said = process.communicate(timeout=60)
    lines = [line for line in said.split("\n") if line]
    assert any("forged" in line for line in lines), said
    for line in lines:
        assert not line.startswith("12:00:00 ERROR evil"), said
        assert line.isprintable(), ascii(line)
        if form == "json" and "forged" in line:
            assert isinstance(json.loads(line), dict)
