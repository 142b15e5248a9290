"""Encodings, media types, and text put back in order."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.adapters.parsers import sniff
from rag_engine.adapters.parsers.charset import decode
from rag_engine.adapters.parsers.draft import Draft, clean, grid, usable_title
from rag_engine.adapters.parsers.layout import Line, Page, style, without_furniture, write
from rag_engine.adapters.parsers.limits import in_words
from rag_engine.adapters.parsers.ocr import quarter_turns
from rag_engine.adapters.parsers.reading_order import Fragment, paragraphs


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp932", "これは日本語の文章です。漢字とかなが混ざっています。"),
        ("cp932", "カタカナのテストデータ"),
        ("gb18030", "这是一个简体中文的测试文件，用来检查编码。"),
        ("big5", "這是一個繁體中文的測試文件，用來檢查編碼。"),
        ("cp949", "이것은 한국어 문장입니다. 인코딩을 확인합니다."),
        ("cp1251", "Это русский текст для проверки кодировки."),
        ("koi8_r", "Это русский текст для проверки кодировки."),
        ("cp1252", "Die Straße führt über Köln nach München – für 5 €."),
        ("cp1252", "Élève à l’école où il a été naïf."),
        ("utf-16", "Text mit Umlauten: äöü"),
        ("utf-16-le", "Plain text without a mark."),
        ("utf-16-be", "Plain text without a mark."),
        ("utf-8-sig", "Ünïcode"),
        ("utf-8", "Ünïcode 東京"),
    ],
)
def test_encodings(encoding: str, text: str) -> None:
    decoded = decode(text.encode(encoding))
    assert decoded.text == text
    assert not decoded.lossy


@given(data=st.binary(max_size=500))
def test_decoding_never_fails(data: bytes) -> None:
    clean(decode(data).text).encode("utf-8")


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"# x\n", "a.md", sniff.MARKDOWN),
        (b"plain\n", "a", sniff.PLAIN),
        (b"plain\n", "a.docx", sniff.PLAIN),
        (b"a,b\n", "a.csv", sniff.CSV),
        (b"a\tb\n", "a.tsv", sniff.TSV),
        (b'{"a": 1}', "a", sniff.JSON),
        (b'{"a": 1}\n{"a": 2}\n', "a", sniff.JSON_LINES),
        (b"[note] a text\n", "a.txt", sniff.PLAIN),
        (b'{"cells": [], "nbformat": 4}', "a.txt", sniff.NOTEBOOK),
        (b"<!-- x --><!DOCTYPE html><p>", "a.txt", sniff.HTML),
        (b"<div>part of a page</div>", "a.htm", sniff.HTML),
        (b"<?xml version='1.0'?><html>", "a", sniff.HTML),
        (b"<?xml version='1.0'?><feed>", "a", sniff.XML),
        (b"From: a\nTo: b\nSubject: c\n\nx", "a", sniff.MAIL),
        (b"Date: today\nTitle: a page\n\nx", "a.md", sniff.MARKDOWN),
        (b"package main\n", "a.go", sniff.CODE),
        (b"all:\n\tmake\n", "Makefile", sniff.CODE),
        (b"{\\rtf1 x}", "a.doc", sniff.RTF),
        (b"\x89PNG\r\n\x1a\n", "a.docx", "image/png"),
        (b"RIFF1234WEBPVP8 ", "a", "image/webp"),
        (b"\x00\x01\x02\x03" * 50, "a.txt", sniff.UNKNOWN),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "a.py", sniff.UNKNOWN),
        (b"PK\x03\x04 cut off", "a.docx", sniff.ZIP),
        ("käse".encode("utf-16"), "a.txt", sniff.PLAIN),
    ],
)
def test_media_types(data: bytes, name: str, expected: str) -> None:
    assert sniff.sniff(io.BytesIO(data), name) == expected


def test_cleaning() -> None:
    assert clean("a\r\nb\rc\u2028d\x00\x07e\u00adf\ud800") == "a\nb\nc\ndef\ufffd"


def test_grid_leaves_out_what_is_empty_everywhere() -> None:
    assert grid([["a", "", "b|c"], ["", "", ""], ["1", "", "2\n3"], ["x"]]) == (
        "| a | b\\|c |\n| --- | --- |\n| 1 | 2 3 |\n| x |  |"
    )
    assert grid([["", ""]]) == ""


@pytest.mark.parametrize("title", ["", "untitled", "(anonymous)", "Untitled.", None, " \n"])
def test_placeholders_are_no_titles(title: str | None) -> None:
    assert usable_title(title) is None


def test_titles_lose_the_name_of_the_program() -> None:
    assert usable_title("Microsoft Word - Annual report") == "Annual report"


def test_draft_counts_in_its_own_text() -> None:
    draft = Draft()
    draft.page(1)
    draft.page(2)
    draft.block("  first\r\n\r\n\r\n\r\npage ")
    draft.heading(2, " A\n title ")
    draft.page(3)
    draft.heading(9, "Deep")
    parsed = draft.finish("text/x")
    assert parsed.text == "  first\n\npage\n\n## A title\n\n###### Deep"
    assert [(page.number, page.offset) for page in parsed.pages] == [(2, 0), (3, 27)]
    assert [(h.level, parsed.text[h.offset :][:4]) for h in parsed.headings] == [
        (2, "## A"),
        (9, "####"),
    ]
    assert parsed.title == "A title"


def test_sizes_in_words() -> None:
    assert [in_words(n) for n in (0, 1023, 1536, 200 * 2**20, 5 * 2**30)] == [
        *("0 bytes", "1023 bytes", "1.5 kB", "200 MB", "5.0 GB"),
    ]


def line(text: str, y: float, *, size: float = 10.0, width: float = 400.0, x: float = 50.0) -> Line:
    return Line(text=text, size=size, left=x, right=x + width, top=y + size, bottom=y)


def laid_out(*lines: Line, pages: int = 1) -> str:
    whole = [Page(number=n + 1, height=800, lines=lines) for n in range(pages)]
    draft = Draft()
    for page in without_furniture(whole):
        write(draft, page, style(whole, {}))
    return draft.finish("x").text


def test_wrapped_lines_are_joined_and_paragraphs_kept() -> None:
    text = laid_out(
        line("The first line of a paragraph is long and en-", 700),
        line("ds in the middle of a word. Another sentence", 688),
        line("is short.", 676, width=60),
        line("A new paragraph follows without a gap, wrapped", 664),
        line("once.", 652, width=30),
        line("After a gap there is one more of them, all alone.", 600),
    )
    assert text.split("\n\n") == [
        "The first line of a paragraph is long and ends in the middle of a word. Another sentence is short.",
        "A new paragraph follows without a gap, wrapped once.",
        "After a gap there is one more of them, all alone.",
    ]


def test_larger_type_makes_headings() -> None:
    body = [
        line(f"Body text of sufficient length, line {n}, goes on.", 600 - 12 * n) for n in range(9)
    ]
    text = laid_out(line("The Title", 720, size=20), line("Section", 650, size=14), *body)
    assert text.startswith("# The Title\n\n## Section\n\nBody text")


def test_repeated_headers_and_page_numbers_are_left_out() -> None:
    text = laid_out(
        line("Annual report", 780), line("Something to read here.", 400), line("7", 20), pages=4
    )
    assert "Annual report" not in text
    assert text.count("Something to read here.") == 4


def fragment(text: str, x: float, y: float, width: float = 100.0, height: float = 10.0) -> Fragment:
    return Fragment(text=text, score=1.0, left=x, right=x + width, top=y, bottom=y + height)


def test_columns_are_read_one_after_the_other() -> None:
    left = [fragment(f"left column, line number {n}", 0, 40 + 12 * n, 180) for n in range(4)]
    right = [fragment(f"right column, line number {n}", 220, 40 + 12 * n, 180) for n in range(4)]
    title = fragment("A title over both columns", 50, 0, 300)
    mixed = [part for pair in zip(left, right, strict=True) for part in pair]
    text = "\n".join(paragraphs([*mixed, title]))
    expected = [title, *left, *right]
    assert text.split("\n") == [part.text for part in expected]


def test_tables_are_read_row_by_row() -> None:
    cells = [fragment(f"c{r}{c}", 100 * c, 12 * r, 50) for c in range(3) for r in range(4)]
    assert paragraphs(cells) == ["c00 c01 c02\nc10 c11 c12\nc20 c21 c22\nc30 c31 c32"]


def test_text_across_the_page_comes_last() -> None:
    side = fragment("arXiv:2103.15348", 0, 0, 10, 300)
    assert paragraphs([side, fragment("Body", 50, 0)]) == ["Body", "arXiv:2103.15348"]


@pytest.mark.parametrize(
    ("tall", "upside_down", "turns"),
    [(False, False, 0), (True, False, 1), (False, True, 2), (True, True, 3)],
)
def test_way_up(tall: bool, upside_down: bool, turns: int) -> None:
    size = (10.0, 100.0) if tall else (100.0, 10.0)
    lines = [fragment("a line of text", 0, 20 * n, *size) for n in range(3)]
    assert quarter_turns(lines, [upside_down] * 3) == turns
