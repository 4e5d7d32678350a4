"""What SQLite, PostgreSQL and their drivers complain of, as errors of our tree.

SQLAlchemy's own texts hold statements and values, and a URL may hold a password: neither is shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from rucio_inject.campaign.databases import REFUSALS
from rucio_inject.domain.errors import LedgerError, LedgerUnavailable

KEEP = "nothing was touched; restore the ledger from a copy, or name another one"
AGAIN = "make room or mend the disk, then run the same command again"
WAIT = "wait until that run has ended; if it hangs, end its process"
ROOM = "make room on the server, then run the same command again"
_PERMIT = "see that you may write to the file and to its folder, or name another ledger"

_SQLITE = {
    "SQLITE_NOTADB": ("is damaged, or is no ledger", KEEP),
    "SQLITE_CORRUPT": ("is damaged", KEEP),
    "SQLITE_FULL": ("cannot be written", AGAIN),
    "SQLITE_IOERR": ("cannot be read or written", AGAIN),
    "SQLITE_READONLY": ("cannot be written", _PERMIT),
    "SQLITE_CANTOPEN": ("cannot be opened", _PERMIT),
    "SQLITE_PERM": ("cannot be opened", _PERMIT),
    "SQLITE_BUSY": (
        "is in use by another process, which has not let go of it",
        WAIT,
    ),
}
# By the class of PostgreSQL's SQLSTATE, or by the whole of it.
_POSTGRESQL = {
    "28": ("does not let us in", "see the user and the password in the ledger's URL"),
    "3D": ("is not there", "make the database, or see its name in the ledger's URL"),
    "42501": ("does not let us write", "the user needs to create tables and to write to them"),
    "53100": ("cannot be written", ROOM),
    "55P03": (
        "is in use by another process, which has not let go of it",
        WAIT,
    ),
    "25006": ("takes no writes", "the server is read-only: name the one that takes writes"),
}
_AWAY = ("cannot be reached", "see that the server runs, then run the same command again")
# What to do about what may be otherwise when the same command is given again.
_LATER = frozenset({AGAIN, WAIT, ROOM, _AWAY[1]})


# What SQLite says, with no code of its own, of pages that are whole and hold what they must not.
_HOLES = ("Could not decode", "no such table", "no such column", "malformed")


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise LedgerError, about the ledger at `place`, for what the database complains of."""
    try:
        yield
    except DBAPIError as error:
        raise _translate(place, error) from None
    except sqlite3.Error as error:
        # From a cursor of its own, where no transaction may be begun.
        raise _told(place, error, *_of_sqlite(error)) from None
    except SQLAlchemyError as error:
        raise LedgerError(
            f"ledger {place} cannot be used: {type(error).__name__}",
            hint="see that the database is up and takes more connections",
        ) from None


@contextmanager
def sensible(place: str) -> Iterator[None]:
    """Raise LedgerError, about the ledger at `place`, for a value read there that is none."""
    try:
        yield
    except UnicodeDecodeError:
        raise LedgerError(f"ledger {place} is damaged: its text is no text", hint=KEEP) from None
    except ValueError as error:
        raise LedgerError(f"ledger {place} is damaged: {error}", hint=KEEP) from None


def _translate(place: str, error: DBAPIError) -> LedgerError:
    if isinstance(error.orig, sqlite3.Error):
        problem, hint = _of_sqlite(error.orig)
    else:
        problem, hint = _of_postgresql(error)
    return _told(place, error.orig, problem, hint)


def _told(place: str, said_by: BaseException | None, problem: str, hint: str) -> LedgerError:
    # Behind that SQLite shows the text that it could not read: a record, which is long.
    said = str(said_by).partition(" with text ")[0]
    lines = said.strip().splitlines() or [type(said_by).__name__]
    kind = LedgerUnavailable if hint in _LATER else LedgerError
    return kind(f"ledger {place} {problem}: {lines[0]}", hint=hint)


def _of_sqlite(error: sqlite3.Error) -> tuple[str, str]:
    # Extended codes go on after the plain one: SQLITE_IOERR_WRITE.
    name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    if any(words in str(error) for words in _HOLES):
        return _SQLITE["SQLITE_CORRUPT"]
    return _SQLITE.get(name, ("refuses", "this is a defect of rucio-inject: please report it"))


def _of_postgresql(error: DBAPIError) -> tuple[str, str]:
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        said = str(error.orig)
        return next((_POSTGRESQL[code] for word, code in REFUSALS if word in said), _AWAY)
    if error.connection_invalidated or state[:2] in {"08", "57"}:
        return _AWAY
    known = _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2])
    return known or ("refuses", "this is a defect of rucio-inject: please report it")
