"""Templates, and how numbers, times and shares look in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rucio_inject import __version__
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.rule import RuleState
from rucio_inject.words.facts import subject, told
from rucio_inject.words.moments import moment, shown
from rucio_inject.words.numbers import duration, plural, reason, size

STATIC = Path(__file__).parent / "static"
NOTHING = "\N{EN DASH}"

_TONES: Mapping[str, str] = {
    FileState.QUARANTINED: "bad",
    FileState.VERIFIED: "good",
    FileState.EXPIRING: "good",
    FileState.GONE: "good",
    RuleState.OK: "good",
    RuleState.STUCK: "bad",
    RuleState.SUSPENDED: "bad",
    RuleState.WAITING_APPROVAL: "warn",
    "running": "busy",
    "draining": "warn",
}

STEP_WORDS: Mapping[FileState, str] = {
    FileState.FOUND: "found",
    FileState.MEASURED: "measured",
    FileState.UPLOADED: "uploaded",
    FileState.REGISTERED: "registered",
    FileState.REPLICATING: "in datasets with rules",
    FileState.REPLICATED: "replicated",
    FileState.VERIFIED: "read back",
    FileState.EXPIRING: "ending",
    FileState.GONE: "gone",
}


@cache
def environment() -> Environment:
    """What makes pages and reports of templates. Everything is escaped, and what is not there is an
    error."""
    made = Environment(
        loader=PackageLoader("rucio_inject.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "ago": ago,
        "count": lambda number: f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"),
        "duration": lambda seconds: NOTHING if seconds is None else _joined(duration(seconds)),
        "moment": moment,
        "pace": lambda per_second: NOTHING if per_second is None else _pace(per_second),
        "percent": percent,
        "plural": lambda number, what: _joined(plural(number, what)),
        "reason": reason,
        "shown": lambda at: NOTHING if at is None else shown(at),
        "clock": lambda at: NOTHING if at is None else f"{at:%H:%M:%S}",
        "size": lambda count: _joined(size(count)),
        "tone": lambda state: _TONES.get(str(state), "plain"),
        "time": as_time,
    }
    made.globals |= {
        "version": __version__,
        "told": told,
        "subject": subject,
        "step_words": STEP_WORDS,
    }
    return made


def _joined(text: str) -> str:
    """A number that stays with its unit at the end of a line."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _pace(per_second: float) -> str:
    return f"{per_second:.3g}" if per_second < 100 else f"{per_second:,.0f}"


def percent(share: float | None) -> str:
    """A share in per cent: 100 only if nothing is missing, and 0 only if nothing is there."""
    if share is None:
        return NOTHING
    if 0 < share < 1:
        share = min(max(share, 0.001), 0.999)
    digits = 0 if share in {0, 1} else 1
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def ago(at: datetime, now: datetime) -> str:
    """How long ago, or in how long."""
    seconds = (now - at) / timedelta(seconds=1)
    return _joined(f"in {duration(-seconds)}" if seconds < 0 else f"{duration(seconds)} ago")


def as_time(at: datetime | None) -> Markup | str:
    """A moment, for people and for programs."""
    if at is None:
        return NOTHING
    return Markup('<time datetime="{}">{}</time>').format(moment(at), shown(at))


@cache
def stamp(name: str) -> str:
    """Changes with a static file, so that browsers may keep it for ever."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


class Painter:
    """Renders the pages of one site."""

    def __init__(self, root: str) -> None:
        """`root`: the path below which the page is reached."""
        self._root = root

    def at(self, path: str, **query: Any) -> str:
        """The address of a page of ours; what is None is left out of the query."""
        known = {key: str(value) for key, value in query.items() if value is not None}
        return self._root + path + (f"?{urlencode(known)}" if known else "")

    def static(self, name: str) -> str:
        """The address of a static file."""
        return self.at(f"/static/{name}", v=stamp(name))

    def render(self, template: str, **values: Any) -> str:
        """A page, or a part of one."""
        found = environment().get_template(template)
        return found.render(at=self.at, static=self.static, **values)
