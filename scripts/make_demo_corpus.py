"""Makes the PDF, the Word file and the scanned page of `demo/lighthouse/`. Run once, when their texts change.

    pip install fpdf2 python-docx pillow
    python scripts/make_demo_corpus.py

None of these packages is needed to use RAG Engine. The scan is set in DejaVu Sans Mono or, where
that is not installed, in the font that Pillow brings along.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import docx
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFilter, ImageFont

DEMO = Path(__file__).resolve().parent.parent / "demo" / "lighthouse"
MADE = datetime(2024, 1, 1, tzinfo=UTC)

HISTORY = [
    (
        "Why a light at Marrow Point",
        [
            (
                "Marrow Point is the easternmost land of the county, a tongue of slate half a mile long "
                "that ends in the Anvil reef. Between 1790 and 1860 the parish registers of Holm record "
                "thirty-one wrecks on the reef and on the Sow Rocks to the north of it. Petitions for a "
                "light were sent up in 1811, 1834 and 1852, and were answered each time with the advice "
                "to keep a better lookout."
            ),
            (
                "What moved the Harbour Trust in the end was an account book. In the winter of 1864 its "
                "secretary, Hester Quill, added up what the wrecks of ten years had cost the town in "
                "salvage, burials and lost dues, and found that a lighthouse would have been cheaper by "
                "the fourth year. The Trust voted the money on 9 March 1865."
            ),
        ],
    ),
    (
        "The building of the tower",
        [
            (
                "The tower was designed by the engineer Matthias Rook and built between 1866 and 1869. "
                "It stands 41 metres high from the rock to the vane, on a base of granite that is "
                "dovetailed course by course so that no stone can move without its neighbours. The "
                "granite came from the quarry at Penhallow, by barge, in two hundred and six journeys."
            ),
            (
                "Two men died during the work: the mason Piers Aldous, who fell from the ninth course, "
                "and the boatman Tam Reay, who was drowned while landing lime. Their names are cut into "
                "the lintel of the door. The light was first shown on 1 October 1869, and the building "
                "had cost 23,400 pounds, which was 3,100 more than the estimate."
            ),
        ],
    ),
    (
        "The keepers",
        [
            (
                "The first keeper was a retired pilot, Gideon Marsh, who served until 1881 and is "
                "remembered for a barometer he built out of a pickle jar. He was followed by Ada Thorne, "
                "the first woman on the coast to hold such a post in her own name. She kept the light "
                "for thirty years, until 1911, and lived on in the cottage below it."
            ),
            (
                "After her came the brothers Fenn, who did not speak to each other for the last eight "
                "of their seventeen years and arranged their watches by notes left under the teapot. "
                "The notes are in the county record office. The last keeper left on 30 June 1958, when "
                "the light was made electric and automatic."
            ),
        ],
    ),
    (
        "The light today",
        [
            (
                "The Trust gave the station to the county in 1996. The tower is open on Sundays from "
                "Easter to the end of September; there are 187 steps. In the oil store a small museum "
                "shows the boat of 1887, which was found in a barn in 1971 and still has the patch in "
                "its third plank, the account book of Hester Quill, and the pickle jar."
            ),
            (
                "The fog horn, installed in 1903 and known as the Marrow Cow, was last sounded in 2001 "
                "and may be blown by visitors on the first of October, the birthday of the light."
            ),
        ],
    ),
]

LIFE = [
    (
        "Childhood",
        [
            (
                "Ada Thorne was born at Holm on 17 May 1852, the third child of a cooper. Her mother "
                "took in the mending of nets, and it was said that the girl could tie a sheet bend "
                "before she could tie her shoes. At eleven she was sent to keep house for an uncle who "
                "ground spectacles in the market town of Aldersey, and there she was found to have a "
                "steady hand."
            ),
        ],
    ),
    (
        "The years abroad",
        [
            (
                "In 1870 the uncle died and left her forty pounds. She spent them on a passage to "
                "Portugal. Ada Thorne learned the grinding of lenses in Lisbon, in the workshop of the "
                "optician Caetano Valadares, where she stayed for six years and rose to be forewoman of "
                "the polishing room. She spoke of the workshop as the only school she had ever had."
            ),
            (
                "Valadares made instruments for the Portuguese navy, and it was on a visit to the light "
                "of Cabo da Roca, to reset a prism, that she first saw a lighthouse lens from inside. "
                "She wrote to her sister that it was like standing in the heart of a pear made of "
                "frost."
            ),
        ],
    ),
    (
        "The keeper",
        [
            (
                "She came home in 1877 and applied for the post at Marrow Point when Gideon Marsh "
                "retired four years later. The Harbour Trust was divided; it is recorded that the "
                "secretary, Hester Quill, asked the gentlemen which of them could mend the lens if it "
                "broke, and that the vote was then unanimous."
            ),
            (
                "Her salary was 62 pounds a year, ten less than her predecessor's, and was made equal "
                "after the winter of 1887. She never married. She played the concertina, kept bees on "
                "the lee side of the tower, and corresponded for twenty years with Valadares's daughter "
                "Inês about the refraction of sea air."
            ),
        ],
    ),
    (
        "Last years",
        [
            (
                "Ada Thorne retired in 1911 and died in the keeper's cottage on 2 December 1931. By her "
                "wish there is no stone; a bench stands in its place, with its back to the town."
            ),
        ],
    ),
]

LOG = """\
MARROW POINT LIGHT                 KEEPER'S LOG

Friday, 18 November 1887

Wind east, force 9, gusting 10. Barometer 28.74
inches and steady since midnight. Sea very heavy,
spray over the gallery.

3.40 a.m.  Rockets seen to the south-east.
3.55 a.m.  Light trimmed, lens wound, boat down.
4.10 a.m.  First journey to the Anvil. Four men
           taken off over the bowsprit.
4.50 a.m.  Second journey. Four men.
5.30 a.m.  Third journey. The captain and two men.
           Struck by a spar, third plank broken.
6.05 a.m.  All ashore. Eleven men and one dog.

Used: two blankets, one gallon of rum, 60 fathoms
of two-inch rope. The rope is spoilt.

The light did not fail. Wound the lens at 7.
Wrote to the Trust for a new boat.

                                      A. Thorne
"""


def make_pdf(path: Path) -> None:
    """A chapter a page."""
    pdf = FPDF(format="A5")
    pdf.set_creation_date(MADE)
    pdf.set_title("A Short History of the Marrow Point Light")
    pdf.set_margin(18)
    for number, (title, paragraphs) in enumerate(HISTORY, start=1):
        pdf.add_page()
        if number == 1:
            pdf.set_font("Times", "B", 17)
            pdf.multi_cell(0, 9, "A Short History of the Marrow Point Light", align="C")
            pdf.ln(6)
        pdf.set_font("Times", "B", 14)
        pdf.multi_cell(0, 8, f"{number}. {title}", new_x="LMARGIN", new_y="NEXT")
        pdf.ln(2)
        pdf.set_font("Times", size=11)
        for paragraph in paragraphs:
            pdf.multi_cell(0, 5.6, paragraph, new_x="LMARGIN", new_y="NEXT")
            pdf.ln(3)
    pdf.output(str(path))


def make_docx(path: Path) -> None:
    """Headings and paragraphs."""
    document = docx.Document()
    document.core_properties.title = "The Life of Ada Thorne"
    document.core_properties.author = ""
    document.core_properties.created = document.core_properties.modified = MADE
    document.add_heading("The Life of Ada Thorne", level=0)
    for title, paragraphs in LIFE:
        document.add_heading(title, level=1)
        for paragraph in paragraphs:
            document.add_paragraph(paragraph)
    document.save(str(path))


def make_scan(path: Path) -> None:
    """A typewritten page as a scanner sees it: a little crooked, a little grey, without text."""
    chance = random.Random(1887)
    page = Image.new("L", (1240, 1500), 244)
    pen = ImageDraw.Draw(page)
    top = 110
    for line in LOG.splitlines():
        pen.text((110, top), line, fill=52, font=_font())
        top += 52
    for _ in range(900):
        x, y = chance.randrange(page.width), chance.randrange(page.height)
        pen.point((x, y), fill=chance.randrange(120, 225))
    page = page.rotate(0.7, resample=Image.Resampling.BICUBIC, fillcolor=236)
    page = page.filter(ImageFilter.GaussianBlur(0.6)).quantize(16)
    page.save(path, optimize=True)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.truetype("DejaVuSansMono.ttf", 32)
    except OSError:
        return ImageFont.load_default(32)


if __name__ == "__main__":
    make_pdf(DEMO / "history-of-the-light.pdf")
    make_docx(DEMO / "life-of-ada-thorne.docx")
    make_scan(DEMO / "keepers-log-1887.png")
    for file in sorted(DEMO.iterdir()):
        print(f"{file.stat().st_size:>8,}  {file.name}")
