"""Text recognition for scans and images, by RapidOCR on ONNX Runtime, with the models it ships."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rag_engine.adapters.parsers.draft import Draft
from rag_engine.adapters.parsers.limits import setting
from rag_engine.adapters.parsers.reading_order import Fragment, paragraphs
from rag_engine.adapters.parsers.source import Source
from rag_engine.core.models import ParsedDocument

# 144 dpi reads print of 8 points and up; 200 dpi costs twice the time for little more.
_SCALE = 2.0
_MAX_SIDE = 3_000
_MAX_PIXELS = 100_000_000
_WORTH_KEEPING = 0.5
# The models gain little from threads that wait for each other by spinning: a page took 4.7 s of
# processor time with one thread and 7.4 s with two. Several documents use the other processors.
_THREADS = 2 if (os.cpu_count() or 1) >= 4 else 1
# As it is, turned by a quarter, and by half where the first vote was wrong.
_ATTEMPTS = 3

Image = npt.NDArray[np.uint8]


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
            return f"{reason}, and text recognition is switched off ({setting('ocr')})"
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
        bitmap = page.render(scale=min(_SCALE, _MAX_SIDE / max(width, height, 1.0)))
        image = np.ascontiguousarray(bitmap.to_numpy()[:, :, :3])
        bitmap.close()
        return self.read(image)

    def read(self, image: Image) -> list[str]:
        """The paragraphs of an image in blue, green, red, whichever way up it is."""
        if min(image.shape[:2]) < 4:
            return []
        fragments: list[Fragment] = []
        for _ in range(_ATTEMPTS):
            fragments, turns = self._recognise(image)
            if not turns:
                break
            image = np.ascontiguousarray(np.rot90(image, turns))
        return paragraphs([fragment for fragment in fragments if fragment.score >= _WORTH_KEEPING])

    def _recognise(self, image: Image) -> tuple[list[Fragment], int]:
        """The lines of an image, and the quarter turns to the left that would put it upright."""
        engine = self._loaded()
        prepared, record = engine.preprocess_img(image)
        boxes, halves, texts, _ = engine.run_ocr_steps(prepared, record)
        if boxes.boxes is None or texts.txts is None:
            return [], 0
        fragments = [
            Fragment(
                text=text.strip(),
                score=float(score),
                left=float(box[:, 0].min()),
                right=float(box[:, 0].max()),
                top=float(box[:, 1].min()),
                bottom=float(box[:, 1].max()),
            )
            for box, text, score in zip(boxes.boxes, texts.txts, texts.scores, strict=True)
        ]
        upside_down = [label == "180" for label, _ in halves.cls_res or ()]
        return [f for f in fragments if f.text], quarter_turns(fragments, upside_down)

    def _loaded(self) -> Any:
        if self._engine is None:
            from rapidocr import RapidOCR

            self._engine = RapidOCR(
                params={
                    "Global.log_level": "error",
                    "EngineConfig.onnxruntime.intra_op_num_threads": _THREADS,
                }
            )
        return self._engine


def quarter_turns(fragments: Sequence[Fragment], upside_down: Sequence[bool]) -> int:
    """How many quarter turns to the left put a page upright, by the vote of its lines.

    The recogniser turns lines that run up or down to the left before it reads them, and says of
    each whether it was upside down then.
    """
    total = tall = flipped = 0
    for index, fragment in enumerate(fragments):
        weight = len(fragment.text)
        total += weight
        tall += weight * (fragment.height > 1.5 * (fragment.right - fragment.left))
        flipped += weight * (index < len(upside_down) and upside_down[index])
    is_sideways, is_flipped = tall * 2 > total, flipped * 2 > total
    if is_sideways:
        return 3 if is_flipped else 1
    return 2 if is_flipped else 0


def parse_image(source: Source, recogniser: Recogniser) -> ParsedDocument:
    """A picture of text; the pages of a TIFF keep their numbers.

    Raises:
        DocumentUnreadable: Damaged.
        DocumentEmpty: It shows no text, or text recognition is off.
        DocumentTooLarge: Too many pages or pixels.
    """
    if not recogniser.available:
        raise source.empty(recogniser.why_nothing("it is an image"))
    draft = Draft()
    for number, image in enumerate(_frames(source), start=1):
        if source.media_type == "image/tiff":
            draft.page(number)
        for paragraph in recogniser.read(image):
            draft.block(paragraph)
        source.progress()
    if draft.is_empty:
        raise source.empty(recogniser.why_nothing("it is an image without text"))
    return draft.finish(source.media_type)


def _frames(source: Source) -> list[Image]:
    """The pictures of an image file, upright as its EXIF data says, on white."""
    import PIL.Image
    from PIL import UnidentifiedImageError

    PIL.Image.MAX_IMAGE_PIXELS = _MAX_PIXELS
    try:
        with source.open() as stream, PIL.Image.open(stream) as file:
            count = getattr(file, "n_frames", 1) if source.media_type == "image/tiff" else 1
            if count > source.limits.max_pages:
                raise source.too_many_pages(count)
            return [_pixels(source, file, index) for index in range(count)]
    except PIL.Image.DecompressionBombError:
        raise source.unpacks_too_far() from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as exc:
        raise source.damaged("it is not a whole image") from exc


def _pixels(source: Source, file: Any, index: int) -> Image:
    import PIL.Image
    from PIL import ImageOps

    if index:
        file.seek(index)
    if file.width * file.height > _MAX_PIXELS:
        raise source.unpacks_too_far()
    picture = ImageOps.exif_transpose(file).convert("RGBA")
    flat = PIL.Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A"))
    flat.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return np.ascontiguousarray(np.asarray(flat, dtype=np.uint8)[:, :, ::-1])
