"""The page that describes the routes, from files that are installed along: no other server is asked."""

from __future__ import annotations

import mimetypes
from typing import Final

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

mimetypes.init()  # it reads files, which else the first request would wait for

_FILES: Final = "/docs/files"
_STATIC: Final = StaticFiles(packages=[("fastapi_swagger", "resources")])


def describe_routes(app: FastAPI) -> None:
    """Let an application show its routes at `/docs`."""

    @app.get("/docs", include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        files = root + _FILES
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=f"{app.title}: routes",
            swagger_js_url=f"{files}/swagger-ui-bundle.js",
            swagger_css_url=f"{files}/swagger-ui.css",
            swagger_favicon_url=f"{files}/favicon-32x32.png",
        )

    app.mount(_FILES, _STATIC)
