"""Text recognition for scans and images, by RapidOCR on ONNX Runtime, with the models it ships."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rag_engine.adapters.parsers.draft import Draft
from rag_engine.adapters.parsers.source import Source
from rag_engine.core.models import ParsedDocument

# 144 dpi reads print of 8 points and up; 200 dpi costs twice the time for little more.
_SCALE = 2.0
_MAX_SIDE = 3_000
_MAX_PIXELS = 100_000_000
# The right way up scores .95 and more on clean print, turned pages .5 to .8.
_SURE = 0.88
_WORTH_KEEPING = 0.5

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    """A recognised line fragment: its text, confidence (0 to 1) and box, y downwards."""

    text: str
    score: float
    left: float
    right: float
    top: float
    bottom: float


class Recogniser:
    """Loads the models at the first page that needs them, and keeps them."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._installed = importlib.util.find_spec("rapidocr") is not None
        self._engine: Any = None

    @property
    def available(self) -> bool:
        """Whether images can be read."""
        return self._enabled and self._installed

    def why_nothing(self, reason: str) -> str:
        """A reason for finding nothing, completed by the state of the recognition."""
        if not self._enabled:
            return f"{reason}, and text recognition is switched off (RAG_PARSER_OCR)"
        if not self._installed:
            return (
                f"{reason}, and text recognition is not installed here "
                "(`pip install rapidocr onnxruntime`)"
            )
        return f"{reason}, and text recognition found none either"

    def read_page(self, page: Any, number: int, draft: Draft) -> list[str]:
        """The paragraphs of a PDF page drawn as an image; page `number` is named in warnings."""
        if not self.available:
            why = "is switched off" if not self._enabled else "is not installed"
            draft.warn(f"Page {number} holds no text, and text recognition {why}.")
            return []
        width, height = page.get_size()
        scale = min(_SCALE, _MAX_SIDE / max(width, height, 1.0))
        bitmap = page.render(scale=scale, may_draw_forms=False)
        image = np.ascontiguousarray(bitmap.to_numpy()[:, :, :3])
        bitmap.close()
        return self.read(image)

    def read(self, image: Image) -> list[str]:
        """The paragraphs of an image, whichever way up it is."""
        best = self._recognise(image)
        if _confidence(best) < _SURE:
            for turns in (1, 3, 2):
                words = self._recognise(np.ascontiguousarray(np.rot90(image, turns)))
                if _evidence(words) > _evidence(best):
                    best = words
                if _confidence(best) >= _SURE:
                    break
        return _paragraphs(best)

    def _recognise(self, image: Image) -> list[_Word]:
        if self._engine is None:
            from rapidocr import RapidOCR

            self._engine = RapidOCR(params={"Global.log_level": "error"})
        result = self._engine(image)
        if result.boxes is None or result.txts is None:
            return []
        return [
            _Word(
                text=text,
                score=float(score),
                left=float(box[:, 0].min()),
                right=float(box[:, 0].max()),
                top=float(box[:, 1].min()),
                bottom=float(box[:, 1].max()),
            )
            for box, text, score in zip(result.boxes, result.txts, result.scores, strict=True)
            if score >= _WORTH_KEEPING and text.strip()
        ]


def parse_image(source: Source, recogniser: Recogniser) -> ParsedDocument:
    """A picture of text.

    Raises:
        DocumentUnreadable: Damaged, or too many pixels.
        DocumentEmpty: It shows no text, or text recognition is off.
    """
    if not recogniser.available:
        raise source.empty(recogniser.why_nothing("it is an image"))
    draft = Draft()
    frames = _load(source)
    for number, image in enumerate(frames, start=1):
        if len(frames) > 1:
            draft.page(number)
        for paragraph in recogniser.read(image):
            draft.block(paragraph)
        source.progress()
    if draft.is_empty:
        raise source.empty(recogniser.why_nothing("it is an image without text"))
    return draft.finish(source.media_type)


def _load(source: Source) -> list[Image]:
    """The frames of an image file, upright as its EXIF data says, in RGB without transparency."""
    import PIL.Image
    from PIL import ImageOps, ImageSequence, UnidentifiedImageError

    PIL.Image.MAX_IMAGE_PIXELS = _MAX_PIXELS
    frames: list[Image] = []
    try:
        with PIL.Image.open(source.path) as file:
            if file.width * file.height > _MAX_PIXELS:
                raise source.damaged(f"it has {file.width} x {file.height} pixels")
            count = getattr(file, "n_frames", 1) if source.media_type == "image/tiff" else 1
            if count > source.limits.max_pages:
                raise source.too_many_pages(count)
            for index, frame in enumerate(ImageSequence.Iterator(file)):
                if index >= count:
                    break
                upright = ImageOps.exif_transpose(frame).convert("RGBA")
                flat = PIL.Image.new("RGB", upright.size, "white")
                flat.paste(upright, mask=upright.getchannel("A"))
                flat.thumbnail((_MAX_SIDE, _MAX_SIDE))
                frames.append(np.asarray(flat, dtype=np.uint8))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as exc:
        raise source.damaged("it is not a whole image") from exc
    except PIL.Image.DecompressionBombError as exc:
        raise source.damaged("it has too many pixels") from exc
    return frames


def _confidence(words: Sequence[_Word]) -> float:
    """Mean confidence by character; 0 without any."""
    characters = sum(len(word.text) for word in words)
    return _evidence(words) / characters if characters else 0.0


def _evidence(words: Sequence[_Word]) -> float:
    return math.fsum(word.score * len(word.text) for word in words)


def _paragraphs(words: Sequence[_Word]) -> list[str]:
    """Fragments in the order of reading, lines joined until a gap."""
    paragraphs: list[str] = []
    previous: list[_Word] = []
    for line in _rows(words):
        text = " ".join(word.text.strip() for word in line)
        if previous and _follows(previous, line):
            paragraphs[-1] += "\n" + text
        else:
            paragraphs.append(text)
        previous = line
    return paragraphs


def _rows(words: Sequence[_Word]) -> list[list[_Word]]:
    """Fragments grouped by the line they stand on, left to right, top to bottom."""
    rows: list[list[_Word]] = []
    for word in sorted(words, key=lambda word: (word.top + word.bottom) / 2):
        middle = (word.top + word.bottom) / 2
        if rows and rows[-1][0].top <= middle <= rows[-1][0].bottom:
            rows[-1].append(word)
        else:
            rows.append([word])
    return [sorted(row, key=lambda word: word.left) for row in rows]


def _follows(previous: Sequence[_Word], line: Sequence[_Word]) -> bool:
    height = max(word.bottom - word.top for word in line)
    return min(word.top for word in line) - max(word.bottom for word in previous) < 0.8 * height
