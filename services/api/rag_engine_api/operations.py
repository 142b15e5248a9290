"""What those who run the service ask it: is it alive, and can it serve?"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, Request, Response

from rag_engine_api.schemas import Body

router = APIRouter(tags=["operations"])

VERSION: Final = version("rag-engine-server")


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
async def ready(request: Request, response: Response) -> Readiness:
    """Able to serve: the store, its queue and the embedding model answer."""
    reasons = await request.app.state.checks.reasons()
    if reasons:
        response.status_code = 503
    return Readiness(ready=not reasons, reasons=reasons)
