"""What strangers hand in over HTTP: it is refused or fails alone, and reaches nothing else."""

from __future__ import annotations

import asyncio
import io
import zipfile
from typing import TYPE_CHECKING

import pytest

from engines import small_engine
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.sandbox import SandboxedParser
from serving import asking

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

FARNE = b"# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."


def bomb() -> bytes:
    """A Word document of some kilobytes that unpacks to 64 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", bytes(64 << 20))
    return file.getvalue()


def endless() -> bytes:
    """A PDF of 10,000 pages, which are one object: 60 kB."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 10000/Kids[" + b"3 0 R " * 10_000 + b"]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer<</Size 4/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(content)
    return content + b"xref\n0 4\n0000000000 65535 f \n" + table + trailer


async def test_what_grows_or_never_ends_fails_alone_with_its_reason(tmp_path: Path) -> None:
    hostile = {
        "bomb.docx": await asyncio.to_thread(bomb),
        "endless.pdf": endless(),
    }
    parser = SandboxedParser(ParserLimits(ocr=False, max_unpacked_bytes=32 << 20))
    engine = await small_engine(tmp_path / "data", parser=parser)
    async with asking(engine) as client:
        for name, content in (*hostile.items(), ("farne.md", FARNE)):
            files = {"files": (name, content)}
            response = await client.post("/api/v1/documents", files=files)
            assert response.status_code == 202, response.text
        await engine.work()
        for name in hostile:
            newest = (await client.get(f"/api/v1/documents/{name}")).json()["newest"]
            assert (newest["status"], newest["error_code"]) == (
                "failed",
                "DocumentTooLarge",
            ), newest
        assert (await client.get("/api/v1/documents/farne.md")).json()["answering"]
    await engine.aclose()
    await parser.aclose()


@pytest.mark.parametrize(
    "name",
    [
        "../../escaped.md",
        "..\\..\\escaped.md",
        "/etc/escaped.md",
        "C:\\escaped.md",
        "a/../escaped.md",
    ],
)
async def test_a_name_leads_nowhere_out_of_the_data_folder(
    client: httpx.AsyncClient, tmp_path: Path, name: str
) -> None:
    response = await client.post("/api/v1/documents", files={"files": (name, FARNE)})
    assert response.json()["versions"][0]["document_id"] == "escaped.md"
    given = {"text": FARNE.decode(), "id": name, "name": name}
    response = await client.post("/api/v1/documents/text", json=given)
    assert response.status_code == 202
    assert response.json()["source"] == "escaped.md"
    assert not [path for path in tmp_path.rglob("*") if "escaped" in path.name]
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_no_field_is_an_address_that_could_be_fetched(client: httpx.AsyncClient) -> None:
    app = client._transport.app  # type: ignore[attr-defined]
    schemas = app.openapi()["components"]["schemas"]
    asked = {
        (name, field)
        for name, schema in schemas.items()
        for field, how in schema.get("properties", {}).items()
        if how.get("format") in ("uri", "url", "iri") or field in ("url", "uri", "href", "link")
    }
    assert asked == set()


HIDDEN = {
    "page.html": '<base href="{0}"><link rel=stylesheet href="{0}/a.css"><script src="{0}/a.js"></script>'
    '<meta http-equiv=refresh content="0;url={0}"><h1>Farne</h1><img src="{0}/a.png"><p>Ada</p>'
    '<iframe src="{0}"></iframe><object data="{0}"></object>',
    "data.xml": '<?xml version="1.0"?><!DOCTYPE a SYSTEM "{0}/a.dtd" [<!ENTITY e SYSTEM "{0}/e">]>'
    '<?xml-stylesheet href="{0}/a.xsl"?><a xmlns:xi="http://www.w3.org/2001/XInclude">Ada &e;'
    '<xi:include href="{0}/x"/></a>',
    "picture.svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{0}/a.png"/>'
    "<text>Ada</text></svg>",
    "notes.md": "# Farne\n\n![a]({0}/a.png) <img src='{0}'> [b]: {0}/b\n\nAda.",
    "mail.eml": "From: a@b.example\nSubject: Farne\nContent-Type: message/external-body;"
    ' access-type=URL; URL="{0}/body"\n\nContent-Type: text/plain\n\nAda.',
    "notes.rst": ".. image:: {0}/a.png\n.. include:: {0}/b\n.. raw:: html\n   :url: {0}/c\n\nAda.",
}


async def test_no_address_in_what_is_sent_is_fetched(tmp_path: Path) -> None:
    """Whatever field or document names a server, also one of this machine, nobody asks it."""
    asked: list[object] = []

    def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer.get_extra_info("peername"))
        writer.close()

    engine = await small_engine(tmp_path / "data")
    async with await asyncio.start_server(met, "127.0.0.1", 0) as inside, asking(engine) as client:
        address = f"http://127.0.0.1:{inside.sockets[0].getsockname()[1]}"
        for name, text in HIDDEN.items():
            given = {"files": (name, text.format(address).encode())}
            metadata = {"metadata": f'{{"url": "{address}/m"}}'}
            sent = await client.post("/api/v1/documents", files=given, data=metadata)
            assert sent.status_code == 202, sent.text
        fields = {"text": f"{address}/t", "id": f"{address}/i", "name": address}
        sent = await client.post("/api/v1/documents/text", json=fields | {"title": f"{address}/h"})
        assert sent.status_code == 202, sent.text
        await engine.work()
        question = {"question": f"Who is at {address}/q?", "filter": {"eq": {"url": address}}}
        assert (await client.post("/api/v1/query", json=question)).status_code == 200
        parts = [
            {"type": "image_url", "image_url": {"url": f"{address}/picture.png"}},
            {"type": "text", "text": f"Who is at {address}/c?"},
        ]
        chat = {"model": "rag-engine", "messages": [{"role": "user", "content": parts}]}
        assert (await client.post("/v1/chat/completions", json=chat)).status_code == 200
        assert asked == []
    await engine.aclose()
