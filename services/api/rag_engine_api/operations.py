"""What those who run the service ask it: is it alive, and can it serve?"""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, Response

from rag_engine.errors import RagEngineError
from rag_engine_api.calls import ServingEngine
from rag_engine_api.schemas import Body

router = APIRouter(tags=["operations"])

VERSION: Final = version("rag-engine-server")
_PATIENCE_SECONDS: Final = 5.0


class Health(Body):
    """It is alive."""

    status: str = "ok"
    version: str


class Readiness(Body):
    """Whether it can serve, and what keeps it from that."""

    ready: bool
    reasons: list[str]


@router.get("/health")
async def health() -> Health:
    """Alive: the process answers, whatever its surroundings do."""
    return Health(version=VERSION)


@router.get("/ready", responses={503: {"model": Readiness}})
async def ready(engine: ServingEngine, response: Response) -> Readiness:
    """Able to serve: the store answers."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await engine.control.waiting()
    except RagEngineError as error:
        reason = str(error)
    except TimeoutError:
        reason = f"The store has not answered for {_PATIENCE_SECONDS:.0f} s. Look at its log."
    else:
        return Readiness(ready=True, reasons=[])
    response.status_code = 503
    return Readiness(ready=False, reasons=[reason])
