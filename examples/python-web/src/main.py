"""A web service: a greeting as JSON."""

from __future__ import annotations

import getpass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def greet(request: Request) -> JSONResponse:
    """Greet whom the address names."""
    return JSONResponse({"hello": request.path_params["name"], "from": getpass.getuser()})


async def health(_: Request) -> JSONResponse:
    """Say that the service answers."""
    return JSONResponse({"ok": True})


app = Starlette(routes=[Route("/hello/{name}", greet), Route("/health", health)])
