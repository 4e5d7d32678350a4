"""What all pages share: the board, the windows on its campaigns, who is signed in, and errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from rucio_inject.apart import Answers
from rucio_inject.domain.errors import InjectError
from rucio_inject.ports import Clock
from rucio_inject.ports.board import Board, Posted
from rucio_inject.readings.window import Window
from rucio_inject.web.gate import Gate, Session
from rucio_inject.web.guard import CSRF_FIELD, Guard, Refused
from rucio_inject.web.paint import Painter

MOST_FIELDS = 10_000
PATIENCE = 3.0
"""Seconds that the page of all campaigns waits for their ledgers."""
Fields = Mapping[str, list[str]]
Answer = TypeVar("Answer", bound=Response)


class Site:
    """One web page over one board."""

    def __init__(self, board: Board, gate: Gate, clock: Clock, root: str) -> None:
        self.board = board
        self.clock = clock
        self.guard = Guard(gate, clock)
        self.painter = Painter(root)
        self.cards: Answers[dict[str, Any]] = Answers(clock, PATIENCE)
        self._windows: dict[tuple[str, str, Path], Window] = {}

    def close(self) -> None:
        """Close all ledgers."""
        for window in self._windows.values():
            window.close()

    def posted(self, name: str) -> Posted:
        """A campaign of the board; Refused with 404 if there is none of that name."""
        for posted in self.board.campaigns():
            if posted.name == name:
                return posted
        raise Refused(404, f"there is no campaign {name} here")

    def window(self, posted: Posted) -> Window:
        """The window on a campaign, which stays open for as long as its places are the same."""
        key = (posted.name, str(posted.ledger), posted.series)
        known = self._windows.get(key)
        if known is None:
            known = Window(posted.name, posted.ledger, posted.series, self.clock)
            known = self._windows.setdefault(key, known)
        return known

    def page(
        self, request: Request, template: str, *, answered: int = 200, **values: Any
    ) -> HTMLResponse:
        """A page, or a part of one, for who is signed in."""
        html = self.painter.render(
            template,
            session=request.state.session,
            now=self.clock.now(),
            is_part=request.headers.get("hx-request") == "true",
            **values,
        )
        return self.remembered(request, HTMLResponse(html, answered))

    def remembered(self, request: Request, answer: Answer) -> Answer:
        """The answer with the cookie of a session that began with this request."""
        begun: Session | None = getattr(request.state, "new_session", None)
        if begun is not None:
            self.guard.remember(request, answer, begun)
        return answer

    def plain_page(self, template: str, status: int, **values: Any) -> HTMLResponse:
        """A page for anybody."""
        return HTMLResponse(self.painter.render(template, session=None, **values), status)

    def sign_in_first(self, request: Request, _: Exception) -> HTMLResponse | RedirectResponse:
        """What who is not signed in gets."""
        if request.headers.get("hx-request") == "true":
            # A part of a page: the whole page has to be asked for again.
            return HTMLResponse("", 401, {"HX-Refresh": "true"})
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(self.painter.at("/sign-in"), 303)
        return self.plain_page("error.html", 401, title="Sign in first", reason="", hint=None)

    def refused(self, _: Request, error: Exception) -> HTMLResponse:
        """What is told of a request that is not let through."""
        assert isinstance(error, Refused)
        titles = {403: "Not allowed", 404: "Not there", 429: "Too many tries"}
        title = titles.get(error.status, "That does not work")
        page = self.plain_page(
            "error.html", error.status, title=title, reason=error.reason, hint=error.hint
        )
        page.headers.update(error.headers)
        return page

    def failed(self, _: Request, error: Exception) -> HTMLResponse:
        """What is told when a ledger cannot be read."""
        assert isinstance(error, InjectError)
        return self.plain_page(
            "error.html",
            503,
            title="That cannot be shown now",
            reason=error.message,
            hint=error.hint,
        )


async def form(request: Request) -> Fields:
    """The fields of a form. Refused if it is none."""
    try:
        text = (await request.body()).decode()
        return parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Refused(400, "that is no form") from None


def site_of(request: Request) -> Site:
    """The site that a request is for."""
    site: Site = request.app.state.site
    return site


OfSite = Annotated[Site, Depends(site_of)]


async def signed_in(request: Request, site: OfSite) -> None:
    """SignInNeeded unless somebody is signed in; `request.state.session` tells who."""
    request.state.session = site.guard.session(request)


async def own_form(request: Request, site: OfSite) -> Fields:
    """The fields of a form of ours, from who is signed in. Nothing is changed before this."""
    session = site.guard.session(request)
    fields = await form(request)
    site.guard.check_write(request, session, fields.get(CSRF_FIELD, [""])[0])
    return fields


OwnForm = Annotated[Fields, Depends(own_form)]
