"""Promise 4, Durable, of requests with an `Idempotency-Key`: killed anywhere, and sent again.

Whoever was not answered sends the same request again to the next process. It is done once, whatever
the first process had done of it, and from then on it is answered the same.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from crashing import embedded

from rag_engine.testing.crash_points import CrashPoints
from rag_engine_api.idempotency import REPLAYED
from serving import asking

TEXT: Final = "/api/v1/documents/text"
NOTE: Final = {"text": "The key is with Ada.", "name": "note.md"}
REFUSED: Final = {"text": "The key is with Ada.", "id": "\0"}
KEY: Final = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
POINTS: Final = [
    f"{call}:{side}"
    for call in ("idempotency.reserve", "blobs.put", "queue.accept", "idempotency.settle")
    for side in ("before", "after")
]


async def send(folder: str, point: str | None, notes: list[dict[str, str]]) -> dict[str, Any]:
    """Send requests to a fresh engine, and say how they were answered and what there is now."""
    engine = embedded(Path(folder), None, CrashPoints(point))
    await engine.control.open("default", create=True)  # where there is none, no key is kept
    async with asking(engine) as client:
        answers = [await client.post(TEXT, json=note, headers=KEY) for note in notes]
        versions = (await client.get("/api/v1/versions")).json()["versions"]
    await engine.aclose()
    return {
        "statuses": [one.status_code for one in answers],
        "bodies": [one.json() for one in answers],
        "replayed": [REPLAYED in one.headers for one in answers],
        "versions": [(one["document_id"], one["version"]) for one in versions],
    }


def sent(folder: Path, *notes: dict[str, str], point: str | None = None) -> Any:
    """What `send` says in a process of its own, or `None` when it was killed."""
    words = json.dumps([str(folder), point, notes])
    command = [sys.executable, __file__, words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return json.loads(ended.stdout) if ended.returncode == 0 else None


@pytest.mark.parametrize("point", POINTS)
def test_killed_there_and_sent_again_it_is_done_once(tmp_path: Path, point: str) -> None:
    assert sent(tmp_path, NOTE, point=point) is None
    seen = sent(tmp_path, NOTE, NOTE)
    assert seen["statuses"] == [202, 202]
    assert seen["replayed"] == [point == "idempotency.settle:after", True]
    assert seen["bodies"][0] == seen["bodies"][1]
    assert seen["versions"] == [["note.md", 1]]


@pytest.mark.parametrize("side", ["before", "after"])
def test_killed_while_it_is_refused_it_may_be_sent_as_it_was_or_put_right(
    tmp_path: Path, side: str
) -> None:
    """A key that was not let go of still stands for the refused request, which did nothing."""
    assert sent(tmp_path, REFUSED, point=f"idempotency.release:{side}") is None
    seen = sent(tmp_path, REFUSED, NOTE)
    assert (seen["statuses"], seen["versions"]) == ([400, 202], [["note.md", 1]])


if __name__ == "__main__":
    print(json.dumps(asyncio.run(send(*json.loads(sys.argv[1])))))
