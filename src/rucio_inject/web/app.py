"""The web application: pages, events, and what machines ask for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Scope

from rucio_inject.domain.errors import InjectError
from rucio_inject.ports import Clock
from rucio_inject.ports.board import Board, Health
from rucio_inject.web.gate import Gate
from rucio_inject.web.guard import Harness, Refused, SignInNeeded, address_of, refuse_other_sites
from rucio_inject.web.pages import router
from rucio_inject.web.paint import STATIC
from rucio_inject.web.site import OwnForm, Site, form
from rucio_inject.web.stream import MOST_STREAMS, events

_FOR_EVER = "public, max-age=31536000, immutable"


class _Static(StaticFiles):
    """Files that never change under their address: it has a stamp of their content."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """See Starlette."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        answer.headers["Cache-Control"] = _FOR_EVER
        return answer


def make_app(board: Board, gate: Gate, clock: Clock, *, root_path: str = "") -> ASGIApp:
    """The page over a board. `root_path` is the path below which a proxy shows it, as in /inject;
    whether the proxy takes that off the requests does not matter."""
    root = root_path.rstrip("/")
    site = Site(board, gate, clock, root)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        site.close()

    app = FastAPI(
        title="rucio-inject",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.site = site
    app.add_exception_handler(SignInNeeded, site.sign_in_first)
    app.add_exception_handler(Refused, site.refused)
    app.add_exception_handler(InjectError, site.failed)
    app.add_exception_handler(HTTPException, _as_refused(site))
    app.add_exception_handler(RequestValidationError, _as_refused(site))
    app.include_router(router)
    _add_door(app, site)
    _add_machines(app, site)
    _add_events(app, site)
    app.mount("/static", _Static(directory=STATIC), name="static")
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    return Harness(app, gate.hosts, root)


def _as_refused(site: Site) -> Any:
    async def told(request: Request, error: Exception) -> HTMLResponse:
        status = error.status_code if isinstance(error, HTTPException) else 400
        reason = "there is no such page" if status == 404 else "that question makes no sense here"
        return site.refused(request, Refused(status, reason))

    return told


def _add_door(app: FastAPI, site: Site) -> None:
    """Signing in and out."""
    home = site.painter.at("/")

    @app.get("/sign-in", response_class=HTMLResponse)
    def door(request: Request) -> Response:
        try:
            site.guard.session(request)
        except SignInNeeded:
            by_token = site.guard.gate.by_token
            return site.plain_page("sign_in.html", 200, wrong=False, by_token=by_token)
        return site.remembered(request, RedirectResponse(home, 303))

    @app.post("/sign-in", response_class=HTMLResponse)
    async def sign_in(request: Request) -> Response:
        refuse_other_sites(request)
        if not site.guard.gate.by_token:
            raise Refused(403, "here the proxy signs people in", hint="come through the proxy")
        fields = await form(request)
        address = address_of(request)
        pause = site.guard.doorkeeper.pause(address)
        if pause:
            raise Refused(
                429,
                "too many wrong tokens came from where you are",
                hint=f"try again in {pause:.0f} s",
                headers={"Retry-After": f"{pause:.0f}"},
            )
        if not site.guard.doorkeeper.admits(address, fields.get("token", [""])[0]):
            return site.plain_page("sign_in.html", 403, wrong=True, by_token=True)
        answer = RedirectResponse(home, 303)
        site.guard.remember(request, answer, site.guard.sessions.begin(None))
        return answer

    @app.post("/sign-out", response_class=HTMLResponse)
    def sign_out(request: Request, _: OwnForm) -> Response:
        site.guard.sessions.end(site.guard.session(request))
        answer = RedirectResponse(site.painter.at("/sign-in"), 303)
        answer.delete_cookie(site.guard.gate.cookie, path=site.painter.at("") or "/")
        return answer


def _add_machines(app: FastAPI, site: Site) -> None:
    """What monitoring asks for, without a token."""

    @app.get("/health")
    def health() -> JSONResponse:
        return _told(site.board.health())

    @app.get("/ready")
    def ready() -> JSONResponse:
        return _told(site.board.ready())

    @app.get("/metrics")
    def metrics() -> PlainTextResponse:
        text = site.board.metrics()
        if not text:
            raise Refused(404, "nothing is measured here: metrics come with rucio-inject serve")
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_events(app: FastAPI, site: Site) -> None:
    open_streams: set[object] = set()

    @app.get("/events")
    async def stream(request: Request, campaign: str | None = None) -> StreamingResponse:
        session = site.guard.session(request)
        if campaign is not None:
            site.posted(campaign)
        if len(open_streams) >= MOST_STREAMS:
            raise Refused(503, "too many browsers listen", headers={"Retry-After": "30"})
        mine = object()

        async def counted() -> AsyncIterator[str]:
            open_streams.add(mine)
            try:
                async with aclosing(events(site.board, campaign)) as coming:
                    async for text in coming:
                        if site.guard.sessions.find(session.key) is None:
                            return
                        yield text
            finally:
                open_streams.discard(mine)

        headers: Mapping[str, str] = {"X-Accel-Buffering": "no"}
        return StreamingResponse(counted(), media_type="text/event-stream", headers=headers)


def _told(health: Health) -> JSONResponse:
    return JSONResponse({"ok": health.ok, "checks": dict(health.checks)}, 200 if health.ok else 503)
