"""What each format becomes: text, title, pages, headings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import documents
from documents import SAMPLES, read
from rag_engine.adapters.parsers.formats import Reader
from rag_engine.adapters.parsers.ocr import Image as Pixels
from rag_engine.adapters.parsers.ocr import Recogniser
from rag_engine.core.models import TextKind
from rag_engine.errors import DocumentEmpty, DocumentTooLarge, DocumentUnreadable

if TYPE_CHECKING:
    from pathlib import Path

    from rag_engine.core.models import ParsedDocument


def outline(parsed: ParsedDocument) -> list[tuple[int, str]]:
    """Levels and titles, after checking that each heading stands where it says."""
    for heading in parsed.headings:
        line = parsed.text[heading.offset :].split("\n", 1)[0]
        assert heading.title in line, heading
    return [(heading.level, heading.title) for heading in parsed.headings]


def page_texts(parsed: ParsedDocument) -> dict[int, str]:
    """The text of each page by its number."""
    ends = [page.offset for page in parsed.pages[1:]] + [len(parsed.text)]
    return {
        page.number: parsed.text[page.offset : end].strip()
        for page, end in zip(parsed.pages, ends, strict=True)
    }


def test_pdf_has_pages_and_the_headings_of_its_outline() -> None:
    parsed = read(SAMPLES / "outline.pdf")
    assert outline(parsed)[:3] == [
        (1, "PART I - DEFINITIONS"),
        (2, "1. Interpretation"),
        (2, "2. Construction of Terms"),
    ]
    pages = page_texts(parsed)
    assert list(pages) == [1, 2, 3]
    assert "Payment Terms" in pages[2]
    assert "Termination" in pages[3]
    # The header "Sample Agreement — page N" stands on every page and is no part of the text.
    assert "Sample Agreement" not in parsed.text


def test_docx_has_headings_of_all_levels() -> None:
    parsed = read(SAMPLES / "headings.docx")
    assert parsed.title == "Test Document"
    assert outline(parsed)[1:5] == [
        (1, "Section 1"),
        (2, "Section 1.1"),
        (2, "Section 1.2"),
        (3, "Section 1.2.3"),
    ]
    assert "1. Appendix A: Glossary" in parsed.text


def test_slides_are_pages_and_their_tables_are_kept() -> None:
    parsed = read(SAMPLES / "table.pptx")
    assert outline(parsed) == [(1, "A Slide with a Table")]
    assert list(page_texts(parsed)) == [1]
    assert "| Purple | Orange | Yellow |" in parsed.text


def test_open_document_slides(tmp_path: Path) -> None:
    path = tmp_path / "a.odp"
    path.write_bytes(documents.open_slides("Ducks", "They swim."))
    parsed = read(path)
    assert outline(parsed) == [(1, "Ducks")]
    assert page_texts(parsed) == {1: "# Ducks\n\nThey swim.\n\nNotes: Say it loud."}


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "webp", "tiff", "jp2"])
def test_image_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    from PIL import Image

    seen: list[tuple[int, ...]] = []

    def recognise(_: Recogniser, image: Pixels) -> list[str]:
        seen.append(image.shape)
        return ["A line"]

    monkeypatch.setattr(Recogniser, "read", recognise)
    path = tmp_path / f"a.{suffix}"
    with Image.open(SAMPLES / "chinese.jpeg") as picture:
        picture.save(path)
    parsed = read(path)
    assert seen == [(110, 449, 3)]
    assert parsed.media_type == f"image/{suffix}"
    assert len(parsed.pages) == (suffix == "tiff")


def test_sheets_are_pages() -> None:
    parsed = read(SAMPLES / "two_sheets.xlsx")
    pages = page_texts(parsed)
    assert list(pages) == [1, 2]
    assert "| Maple Leafs | TOR | 13 |" in pages[1]
    assert "| Maple Leafs | TOR | 0 |" in pages[2]


def test_binary_workbook() -> None:
    assert "| 2024 | 180 |" in read(SAMPLES / "legacy.xls").text


def test_opendocument_text() -> None:
    parsed = read(SAMPLES / "simple.odt")
    assert outline(parsed) == [(1, "These are a few of my favorite things:")]


def test_book_has_chapters_and_a_title() -> None:
    parsed = read(SAMPLES / "chapters.epub")
    assert parsed.title == "Test EPUB Document"
    assert [title for _, title in outline(parsed)] == [
        "Chapter 1: Test Content",
        "Chapter 2: More Content",
    ]


def test_outlook_mail() -> None:
    parsed = read(SAMPLES / "outlook.msg")
    assert parsed.title == "Test Email Message"
    assert "body of the test email message" in parsed.text


def test_mail_with_an_attachment_holds_both() -> None:
    parsed = read(SAMPLES / "attachment.eml")
    assert parsed.title == "Email with Attachment"
    assert "From: Alice Example <alice@example.com>" in parsed.text
    assert "This email contains an attachment." in parsed.text
    assert outline(parsed) == [(2, "test.txt")]
    assert "This is a test attachment file." in parsed.text


def test_mail_in_utf_16() -> None:
    assert "- Roses are red" in read(SAMPLES / "utf16.eml").text


def test_mail_of_html_with_a_forwarded_mail(tmp_path: Path) -> None:
    path = tmp_path / "forward.eml"
    path.write_text(
        "From: a@example.org\nTo: b@example.org\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n"
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n"
        "--x\nContent-Type: text/html; charset=latin-1\n"
        "Content-Transfer-Encoding: quoted-printable\n\n<h1>Plan</h1><p>caf=E9</p>\n"
        "--x\nContent-Type: message/rfc822\n\n"
        "From: c@example.org\nTo: a@example.org\nSubject: Inner\n\nThe inner text.\n"
        "--x\nContent-Type: application/octet-stream\n"
        "Content-Disposition: attachment; filename=junk.bin\n"
        "Content-Transfer-Encoding: base64\n\nAAECAwQFBgcAAAAAAAA=\n--x--\n"
    )
    parsed = read(path)
    assert parsed.title == "Grüße"
    assert "café" in parsed.text
    assert "The inner text." in parsed.text
    assert any("junk.bin" in warning for warning in parsed.warnings)


def test_notebook_keeps_markdown_code_and_output() -> None:
    parsed = read(SAMPLES / "notebook.ipynb")
    assert outline(parsed) == [(1, "Test Notebook"), (2, "Code Cell Below")]
    assert '```python\nprint("markitdown")\n```\n\nmarkitdown' in parsed.text


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("shift_jis.csv", "名前 | 年齢 | 住所", "髙橋淳 | 35 | 名古屋"),
        ("ragged.csv", "1 | 2 | 3 | 4", "a | b | c | d"),
    ],
)
def test_tables_in_text_are_one_record_a_line(name: str, first: str, last: str) -> None:
    parsed = read(SAMPLES / name)
    assert parsed.kind is TextKind.TABLE
    assert parsed.text.split("\n")[0] == first
    assert parsed.text.split("\n")[-1] == last


def test_semicolons_divide_cells_that_hold_commas_and_newlines(tmp_path: Path) -> None:
    assert "Sheryl | Baxter" in read(SAMPLES / "semicolons.csv").text
    path = tmp_path / "a.csv"
    path.write_text('name;note\nA;"one, two\nthree"\n')
    assert read(path).text == "name | note\nA | one, two three"


def test_html_keeps_the_columns_of_spanned_cells() -> None:
    parsed = read(SAMPLES / "spans.html")
    assert "| 2025 | Q1 |  |  |  |\n|  |  | January | $134 | $162 |" in parsed.text


def test_html_page_without_its_scripts_and_navigation(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(
        "<!doctype html><title>The &amp; page</title><style>p{}</style><nav>menu</nav>"
        "<h1>One</h1><p>A <b>bold</b> word.<br>next<script>x()</script><h2>Two</h2>"
        "<ul><li>a<ul><li>b</ul><li>c</ul><ol><li>x<li>y</ol><pre>  a\n    b</pre>"
        "<p hidden>secret</p><div style='display: none'>also</div><table><tr><td>lone</table>"
    )
    parsed = read(path)
    assert parsed.title == "The & page"
    assert outline(parsed) == [(1, "One"), (2, "Two")]
    assert "A bold word.\nnext" in parsed.text
    assert "- a\n  - b\n- c" in parsed.text
    assert "1. x\n2. y" in parsed.text
    assert "```\n  a\n    b\n```" in parsed.text
    assert parsed.text.endswith("lone")
    assert not {"menu", "x()", "secret", "also"} & set(parsed.text.split())


def test_xml_of_articles_and_of_records(tmp_path: Path) -> None:
    article = tmp_path / "a.xml"
    article.write_text(
        "<?xml version='1.0'?><article><title>Ducks</title><p>They <b>swim</b>.</p>"
        "<sec><title>Food</title><p>Leaves.</p></sec></article>"
    )
    assert outline(read(article)) == [(1, "Ducks"), (2, "Food")]
    assert "They swim." in read(article).text
    records = tmp_path / "b.xml"
    records.write_text(
        "<?xml version='1.0'?><list><book><author>Ann</author><price>5</price></book></list>"
    )
    assert read(records).text == "author: Ann\nprice: 5"
    attributes = tmp_path / "c.xml"
    attributes.write_text("<?xml version='1.0'?><list><book author='Ann'/></list>")
    assert read(attributes).text == "book: author: Ann"


def test_archive_has_each_file_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    members = {
        "docs/a.md": b"# Inner\n\nText of a.",
        "b.docx": (SAMPLES / "headings.docx").read_bytes(),
        "__MACOSX/._a.md": b"noise",
        "broken.pdf": b"%PDF-1.4 nothing",
    }
    path.write_bytes(documents.zipped(members))
    parsed = read(path)
    assert outline(parsed)[:4] == [
        (1, "docs/a.md"),
        (2, "Inner"),
        (1, "b.docx"),
        (2, "Test Document"),
    ]
    assert "noise" not in parsed.text
    assert [warning for warning in parsed.warnings if "broken.pdf" in warning]


def test_markdown_headings(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(
        "---\ntitle: 'From the front'\n---\n# One #\n\ntext\n\nTwo\n---\n\n```\n# not one\n```\n"
        "- item\n---\n### [Three](http://x) `code`\n"
    )
    parsed = read(path)
    assert parsed.title == "From the front"
    assert [(h.level, h.title) for h in parsed.headings] == [
        (1, "One"),
        (2, "Two"),
        (3, "Three code"),
    ]
    assert parsed.text == path.read_text()


def test_restructured_text_headings(tmp_path: Path) -> None:
    path = tmp_path / "a.rst"
    path.write_text("=====\nTitle\n=====\n\nOne\n===\n\ntext\n\nSub\n---\n\nTwo\n===\n")
    assert outline_of(path) == [(1, "Title"), (2, "One"), (3, "Sub"), (2, "Two")]


def outline_of(path: Path) -> list[tuple[int, str]]:
    return [(heading.level, heading.title) for heading in read(path).headings]


@pytest.mark.parametrize("name", ["a.py", "a.js", "a.go", "Makefile", "a.yaml"])
def test_source_code(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("# build\n\ndef f():\n\treturn 1\n")
    parsed = read(path)
    assert parsed.kind is TextKind.CODE
    assert parsed.title == name
    assert parsed.text == path.read_text()


def test_json_is_laid_out_in_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {"title": "Ducks", "birds": [{"name": f"bird {n}"} for n in range(30)]}
    path.write_text(json.dumps(value))
    parsed = read(path)
    assert parsed.title == "Ducks"
    assert parsed.text.count("\n") > 60
    assert json.loads(parsed.text) == value


def test_damaged_json_is_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 2')
    parsed = read(path)
    assert parsed.text == '{"a": [1, 2'
    assert "not valid JSON" in parsed.warnings[0]


@pytest.mark.parametrize(
    ("sample", "name", "media_type"),
    [
        ("outline.pdf", "notes.txt", "application/pdf"),
        ("spans.html", "report.pdf", "text/html"),
        ("headings.docx", "table.xlsx", "application/vnd.openxmlformats"),
        ("notebook.ipynb", "no_name_at_all", "application/x-ipynb+json"),
        ("attachment.eml", "mail.txt", "message/rfc822"),
    ],
)
def test_bytes_outrank_the_name(sample: str, name: str, media_type: str) -> None:
    assert read(SAMPLES / sample, name=name).media_type.startswith(media_type)


def test_slide_with_a_picture_that_is_not_there_keeps_its_text(tmp_path: Path) -> None:
    drawing = "http://schemas.openxmlformats.org/drawingml/2006/main"
    slide = "ppt/slides/slide1.xml"
    broken = f'<p:pic><a:blip xmlns:a="{drawing}"/></p:pic></p:spTree>'.encode()
    original = (SAMPLES / "table.pptx").read_bytes()
    path = tmp_path / "broken.pptx"
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        xml = archive.read(slide).replace(b"</p:spTree>", broken)
    path.write_bytes(documents.rezipped(original, {slide: xml}))
    parsed = read(path)
    assert "| Red | Green | Blue |" in parsed.text
    assert "picture" in parsed.warnings[0]


def test_empty_workbook() -> None:
    with pytest.raises(DocumentEmpty, match=r"'empty\.xlsx' has nothing to index"):
        read(SAMPLES / "empty.xlsx")


def test_password() -> None:
    with pytest.raises(DocumentUnreadable, match=r"password.*Save a copy without"):
        read(SAMPLES / "password.pdf")


def test_office_password(tmp_path: Path) -> None:
    path = tmp_path / "secret.docx"
    path.write_bytes(documents.encrypted_office())
    with pytest.raises(DocumentUnreadable, match="password"):
        read(path)


@pytest.mark.parametrize("sample", ["outline.pdf", "headings.docx", "chapters.epub", "table.pptx"])
def test_truncated(tmp_path: Path, sample: str) -> None:
    path = tmp_path / sample
    data = (SAMPLES / sample).read_bytes()
    path.write_bytes(data[: len(data) // 3])
    with pytest.raises(DocumentUnreadable, match=f"'{sample}' cannot be read"):
        read(path)


def test_container_that_unpacks_too_far() -> None:
    with pytest.raises(DocumentTooLarge, match=r"zip bomb.*RAG_PARSER_MAX_UNPACKED_BYTES"):
        read(SAMPLES / "headings.docx", max_unpacked_bytes=10_000)


def test_archives_in_an_archive_count_together(tmp_path: Path) -> None:
    inner = documents.zipped({"a.txt": b"0" * 400_000})
    path = tmp_path / "many.zip"
    path.write_bytes(documents.zipped({f"{n}.zip": inner for n in range(5)}))
    with pytest.raises(DocumentTooLarge, match="zip bomb"):
        read(path, max_unpacked_bytes=1_000_000)
    assert read(path, max_unpacked_bytes=3_000_000).text.count("# a.txt") == 5


@pytest.mark.parametrize(
    ("sample", "limit"), [("outline.pdf", 2), ("two_sheets.xlsx", 1), ("table.pptx", 0)]
)
def test_too_many_pages(sample: str, limit: int) -> None:
    with pytest.raises(DocumentTooLarge, match="RAG_PARSER_MAX_PAGES"):
        read(SAMPLES / sample, max_pages=limit)


def test_invalid_utf_8_is_replaced_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Grüße aus Köln, 東京".encode() * 5 + b"\xff\x80 end")
    parsed = read(path)
    assert parsed.text.startswith("Grüße aus Köln, 東京")
    assert "not valid UTF-8" in parsed.warnings[0]


def test_without_kreuzberg_the_reason_and_the_remedy_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DocumentUnreadable, match=r"kreuzberg.*has no build for.*Save it as PDF"):
        read(SAMPLES / "headings.docx")
    assert read(SAMPLES / "spans.html").text
    assert read(SAMPLES / "outline.pdf").text


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_scan_is_recognised_whichever_way_up_it_is(tmp_path: Path, turns: int) -> None:
    parsed = read(documents.scan(tmp_path / "scan.pdf", turns=turns))
    text = parsed.text.replace("\n", "")
    assert "新鲜甘草黄酮养分" in text
    assert text.index("新鲜甘草") < text.index("适用人群")
    assert [page.number for page in parsed.pages] == [1]


def test_only_pages_without_text_are_recognised(tmp_path: Path) -> None:
    scan = documents.scan(tmp_path / "scan.pdf")
    parsed = read(documents.merged(tmp_path / "mixed.pdf", SAMPLES / "outline.pdf", scan))
    pages = page_texts(parsed)
    assert list(pages) == [1, 2, 3, 4]
    assert "Payment Terms" in pages[2]
    assert "适用人群" in pages[4]


def test_scan_without_recognition_is_empty_and_says_why(tmp_path: Path) -> None:
    path = documents.scan(tmp_path / "scan.pdf")
    with pytest.raises(DocumentEmpty, match="switched off"):
        read(path, reader=Reader(ocr=False))
    with pytest.raises(DocumentEmpty, match="switched off"):
        read(SAMPLES / "chinese.jpeg", reader=Reader(ocr=False))


def test_image_without_text(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "blank.png"
    Image.new("RGBA", (300, 200), (0, 0, 0, 0)).save(path)
    with pytest.raises(DocumentEmpty, match="image without text"):
        read(path)


def test_damaged_image(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes((SAMPLES / "chinese.jpeg").read_bytes()[:500])
    with pytest.raises(DocumentUnreadable, match="not a whole image"):
        read(path)


def test_filled_in_forms_are_read(tmp_path: Path) -> None:
    path = tmp_path / "form.pdf"
    path.write_bytes(documents.filled_form("Ada Lovelace"))
    assert read(path, reader=Reader(ocr=False)).text == "Ada Lovelace"


def test_scan_with_a_header_of_text(tmp_path: Path) -> None:
    path = documents.stamped(tmp_path / "stamped.pdf", documents.scan(tmp_path / "scan.pdf"))
    assert "适用人群" in read(path).text


def test_opendocument_with_a_password(tmp_path: Path) -> None:
    original = (SAMPLES / "simple.odt").read_bytes()
    manifest = {"META-INF/manifest.xml": b"<manifest:encryption-data/>"}
    path = tmp_path / "secret.odt"
    path.write_bytes(documents.rezipped(original, manifest))
    with pytest.raises(DocumentUnreadable, match="password"):
        read(path)
