"""Every parser sample: its text, or the one error it deserves.

`RAG_TEST_DATA` names the folder with the data; by default it is `../shared/data`.
"""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest

from documents import DATA
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.sandbox import SandboxedParser
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import DocumentEmpty, DocumentUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = DATA / "parser_samples"
MANIFEST = FOLDER / "manifest.jsonl"

RECALL = 0.97
EXCEPTIONS = {
    # The reference describes the charts of the workbook in its own words.
    "docling__xlsx_01.xlsx": 0.85,
    # The reference splits words at Arabic ligatures and diacritics.
    "docling__right_to_left_01.pdf": 0.95,
    # The reference numbers lists whose numbers are not in the file's text.
    "docling__legacy_sample.doc": 0.95,
}
ERRORS = {
    "unstructured__password.pdf": (DocumentUnreadable, "protected by a password"),
    "unstructured__empty.xlsx": (DocumentEmpty, "nothing to index"),
}
# Words that have to be found, where there is no reference or it is empty; OCR'd files among them.
WORDS = {
    "docling__bookmark_sample.pdf": "part ii obligations payment schedule miscellaneous",
    "docling__eml_simple.eml": "alice bob simple email body",
    "docling__eml_with_attachment.eml": "attachment dummy content",
    "docling__msg_with_attachment.msg": "alice contains attachment dummy content",
    "docling__nemotron_multipage.pdf": "docling bundles pdf document conversion json markdown package",
    "docling__ocr_test_rotated_90.pdf": "docling bundles pdf document conversion json markdown package",
    "microsoft__MEDRPT-2024-PAT-3847_medical_report_scan.pdf": (
        "seattle general hospital comprehensive medical report headaches lisinopril metformin"
    ),
    "microsoft__docx_multiple_images.docx": "multi image document",
    "microsoft__pdf_complex_layout.pdf": "complex layout document item quantity widget",
    "microsoft__test.epub": "chapter test content second blockquote",
    "microsoft__test_mskanji.csv": "名前 佐藤太郎 東京 髙橋淳",
    "microsoft__test_notebook.ipynb": "markitdown print comment code 42",
    "microsoft__test_outlook_msg.msg": "body of the test email message kurtuluş",
    "unstructured__UDHR_first_article_all.txt": "menschen free dignité 是人都生而自由",
    "unstructured__chi_sim_image.jpeg": "新鲜甘草黄酮养分 宛若新生 适用人群",
    "unstructured__embedded-images-tables.pdf": "potentiodynamic polarization corrosion 24.0910",
    "unstructured__eng_spa_mult.rst": "human beings todos seres humanos",
    "unstructured__english-and-korean.png": "rules and instructions template treasure haruto",
    "unstructured__example-10k-1p.html": "galaxy gaming nevada registrant",
    "unstructured__fake-email-utf-16.eml": "roses red violets blue",
    "unstructured__fake-power-point-table.pptx": "slide table purple tangerine",
    "unstructured__handbook-1p.docx": "united states trustee",
    "unstructured__korean-text-with-tables.pdf": "적립 이마트 커피전문점 파리바게뜨",
    "unstructured__layout-parser-paper-fast.jpg": "layoutparser unified toolkit document image analysis",
    "unstructured__simple.odt": "few of my favorite things",
    "unstructured__simple.zip": "anomalies stanley cups flyers",
    "unstructured__stanley-cups.xlsx": "team location blues flyers maple leafs",
}
PAGES = {
    "docling__multi_page.pdf": 5,
    "docling__bookmark_sample.pdf": 3,
    "docling__nemotron_multipage.pdf": 4,
    "docling__powerpoint_sample.pptx": 3,
    "docling__xlsx_01.xlsx": 4,
    "microsoft__MEDRPT-2024-PAT-3847_medical_report_scan.pdf": 3,
    "docling__redp5110_sampled.pdf": 17,  # of 18, one is blank
}
# Several pages to recognise.
SLOW = {
    "docling__nemotron_multipage.pdf",
    "microsoft__MEDRPT-2024-PAT-3847_medical_report_scan.pdf",
}

pytestmark = pytest.mark.skipif(
    not MANIFEST.exists(), reason=f"no parser samples at {FOLDER}; set RAG_TEST_DATA"
)


def _rows() -> list[dict[str, Any]]:
    if not MANIFEST.exists():
        return [{"file": "files/none", "expected": None}]
    return [json.loads(line) for line in MANIFEST.read_text("utf-8").splitlines()]


def _words(text: str) -> set[str]:
    """Distinct words, without the marks of Markdown and HTML."""
    text = re.sub(r"<!--.*?-->|<[^>]+>|https?://\S+", "", text).replace("\\", "")
    text = unicodedata.normalize("NFKC", text).casefold()
    text = text.replace("&amp;", "&").replace("&lt;", "<").replace("_", " ")
    return set(re.findall(r"\w+", text))


@pytest.fixture(scope="module")
def parser() -> Iterator[SandboxedParser]:
    parser = SandboxedParser(ParserLimits(), processes=1)
    yield parser
    asyncio.run(parser.aclose())


def _outcome(parser: SandboxedParser, path: Path) -> ParsedDocument | Exception:
    try:
        return asyncio.run(parser.parse(path, path.name))
    except (DocumentUnreadable, DocumentEmpty) as exc:
        return exc


def _name(row: object) -> str:
    return str(row["file"]).removeprefix("files/") if isinstance(row, dict) else ""


def _marked(row: dict[str, Any]) -> object:
    return pytest.param(row, marks=pytest.mark.slow) if _name(row) in SLOW else row


@pytest.mark.parametrize("row", [_marked(row) for row in _rows()], ids=_name)
def test_sample(parser: SandboxedParser, row: dict[str, Any]) -> None:
    path = FOLDER / row["file"]
    outcome = _outcome(parser, path)
    if path.name in ERRORS:
        kind, words = ERRORS[path.name]
        assert isinstance(outcome, kind)
        assert words in str(outcome)
        assert repr(path.name) in str(outcome)
        return
    assert isinstance(outcome, ParsedDocument), outcome
    found = _words(outcome.text)
    reference = FOLDER / row["expected"] if row["expected"] else None
    expected = _words(reference.read_text("utf-8")) if reference and reference.exists() else set()
    if expected:
        missing = sorted(expected - found)
        recall = 1 - len(missing) / len(expected)
        assert recall >= EXCEPTIONS.get(path.name, RECALL), missing
    else:
        flat = "".join(outcome.text.split()).casefold()
        missing = [word for word in WORDS[path.name].split() if word not in flat]
        assert not missing, outcome.text[:500]
    assert len(outcome.pages) == PAGES.get(path.name, len(outcome.pages))


@pytest.mark.parametrize("row", _rows(), ids=_name)
def test_offsets_are_those_of_the_text(parser: SandboxedParser, row: dict[str, Any]) -> None:
    if row.get("format") in {"png", "jpg", "jpeg"} or "scan" in str(row.get("note")):
        pytest.skip("recognised once already, in the test above")
    parsed = _outcome(parser, FOLDER / row["file"])
    if isinstance(parsed, Exception):
        return
    offsets = [page.offset for page in parsed.pages]
    assert offsets == sorted(offsets)
    assert all(0 <= offset < len(parsed.text) for offset in offsets)
    for heading in parsed.headings:
        line = parsed.text[heading.offset :].split("\n", 1)[0]
        assert _words(heading.title) <= _words(line), heading
    parsed.text.encode("utf-8")
    assert "\x00" not in parsed.text
    assert "\r" not in parsed.text
