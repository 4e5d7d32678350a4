"""The versions of the ledger's schema, as alembic knows them."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

FOLDER = Path(__file__).with_name("migrations")


def known() -> frozenset[str]:
    """Every version that this code can bring up to date."""
    return frozenset(script.revision for script in _scripts().walk_revisions())


def newest() -> str | None:
    """The last version; None if there is none."""
    return _scripts().get_current_head()


def upgrade(connection: Connection, version: str) -> None:
    """Bring the schema behind a connection to a version, in its transaction."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    # A percent sign would be read as the beginning of a variable.
    folder = str(FOLDER).replace("%", "%%")
    config.set_main_option("script_location", folder)
    return config
