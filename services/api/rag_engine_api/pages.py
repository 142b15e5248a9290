"""The pages for people, from files that are installed along: no other server is asked.

The console at `/` shows what strangers wrote: names, texts and answers from documents. It takes them
as text, and its policy has the browser refuse whatever would run or be fetched all the same.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles

mimetypes.init()  # it reads files, which else the first request would wait for

_FILES: Final = "/docs/files"
_STATIC: Final = StaticFiles(packages=[("fastapi_swagger", "resources")])

_CONSOLE: Final = Path(__file__).parent / "console"
_SCRIPTS: Final = StaticFiles(directory=_CONSOLE)

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

# Windows may be told otherwise by other programs, and browsers run a module of no other type.
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("text/css", ".css")


def show_console(app: FastAPI) -> None:
    """Let an application have its page at `/`: documents, questions and the graph, for people."""

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def console() -> FileResponse:
        policy = {"Content-Security-Policy": _POLICY}
        return FileResponse(_CONSOLE / "index.html", media_type="text/html", headers=policy)

    app.mount("/console", _SCRIPTS)


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
