"""Bytes to text when nobody says which encoding they are in."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

import charset_normalizer

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 256 * 1024
_UTF8_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_UNREADABLE = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")
# ASCII, letters with accents, and the quotes, dashes and signs common in Windows-1252.
_WESTERN = bytes([*range(0x80), *range(0xA0, 0x100), 0x80, 0x85, 0x8C, 0x9C, *range(0x91, 0x98)])
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
# The common one of each script. With all that exist, short texts become exotic code pages.
_LEGACY = (
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
    *("cp1251", "koi8_r", "cp1252", "cp1253", "cp1255", "cp1256"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A text, the encoding it was read with, and whether characters had to be replaced."""

    text: str
    encoding: str
    lossy: bool = False


def decode(data: bytes) -> Decoded:
    """The text of some bytes. Never fails: what cannot be decoded becomes U+FFFD."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decode_as(data, encoding)
    wide = utf16_without_mark(data)
    if wide:
        return _decode_as(data, wide)
    try:
        return Decoded(text=data.decode("utf-8"), encoding="utf-8")
    except UnicodeDecodeError:
        return _decode_damaged(data)


def _decode_damaged(data: bytes) -> Decoded:
    sample = data[:_SAMPLE]
    high = sum(byte >= 0x80 for byte in sample)
    valid = sum(len(match) for match in _UTF8_SEQUENCE.findall(sample))
    # A legacy encoding hardly ever forms valid UTF-8: where most of it is, the rest is damage.
    if high == 0 or valid > 0.6 * high:
        return Decoded(text=data.decode("utf-8", "replace"), encoding="utf-8", lossy=True)
    return _decode_as(data, _likeliest(sample))


def _decode_as(data: bytes, encoding: str) -> Decoded:
    try:
        return Decoded(text=data.decode(encoding), encoding=encoding)
    except UnicodeDecodeError:
        return Decoded(text=data.decode(encoding, "replace"), encoding=encoding, lossy=True)


def utf16_without_mark(data: bytes) -> str | None:
    """The byte order of UTF-16 text without a byte order mark, or `None` if it is not that."""
    sample = data[:4096]
    half = len(sample) // 2
    if half < 2:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    # Text in Latin script has a zero in nearly every second byte, and only there.
    if odd > 0.4 * half and even < 0.05 * half:
        order = "utf-16-le"
    elif even > 0.4 * half and odd < 0.05 * half:
        order = "utf-16-be"
    else:
        return None
    return order if is_readable(sample[: 2 * half].decode(order, "replace")) else None


def is_readable(text: str) -> bool:
    """Whether hardly any character is a control character or damaged."""
    return len(_UNREADABLE.findall(text)) <= 0.05 * len(text)


def _likeliest(sample: bytes) -> str:
    """The legacy encoding that makes the most plausible text."""
    runs = [len(run) for run in _HIGH_RUN.findall(sample)]
    # Accented letters stand alone among plain ones; in other scripts high bytes stand in rows.
    odd = len(sample.translate(None, _WESTERN))
    if sum(runs) < 1.6 * len(runs) and odd * 20 < sum(runs):
        return "cp1252"
    best = charset_normalizer.from_bytes(sample, cp_isolation=list(_LEGACY)).best()
    return best.encoding if best else "cp1252"
