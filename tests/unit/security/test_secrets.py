"""A secret is in no error, log, ledger or process list; files of ours are nobody else's."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.injection_world import NAMES, World, campaign_keys, telescope_files

from rucio_inject.campaign.load import load_campaign
from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.errors import CampaignInvalid, InjectError
from rucio_inject.lake.credentials import secret_of
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.server import Programs
from rucio_inject.ledger.engine import postgresql_database
from rucio_inject.ledger.fact_json import fact_text
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.rucio.session import SignIn
from rucio_inject.testing.fake_clock import FakeClock

SECRET = "s3cret-word"


def sql_keys(folder: Path, **changes: Any) -> dict[str, Any]:
    """A campaign whose source is a database with a password in its URL."""
    source = {
        "kind": "sql",
        "url": f"postgresql://reader:{SECRET}@127.0.0.1:1/runs",
        "query": "SELECT 1 AS path",
        "path": str(folder),
        **changes,
    }
    return campaign_keys(folder / "out", source=source, end=None)


def test_options_for_signing_in_have_no_text() -> None:
    options = SignIn(account="magic", user="magic", password=SECRET)
    assert SECRET not in f"{options!r} {options!s}"


def test_a_campaign_hides_the_password_of_its_database(tmp_path: Path) -> None:
    campaign = Campaign.model_validate(sql_keys(tmp_path))
    assert SECRET not in f"{campaign!r} {campaign!s} {campaign.model_dump_json()}"


def test_what_is_wrong_with_a_campaign_is_told_without_it(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        Campaign.model_validate(sql_keys(tmp_path, url=[SECRET]))
    path = tmp_path / "c.yaml"
    path.write_text(
        f"campaign: c\nscope: S\nsource: {{kind: sql, url: [{SECRET}], query: x, path: x}}\n"
        "upload: {rse: A}\nrules: [{rse_expression: A}]\n"
    )
    with pytest.raises(CampaignInvalid) as refused:
        load_campaign(path)
    assert SECRET not in f"{refused.value.message} {refused.value.problems}"


def test_a_database_that_refuses_is_told_without_it(tmp_path: Path) -> None:
    world = World(tmp_path, {"end": None, "source": sql_keys(tmp_path)["source"]})
    with pytest.raises(InjectError) as refused:
        world.run()
    error: BaseException | None = refused.value
    while error is not None:
        assert SECRET not in f"{error} {error.args} {getattr(error, 'hint', '')}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_ledger_on_postgresql_is_named_without_its_password() -> None:
    database = postgresql_database(f"postgresql://magic:{SECRET}@127.0.0.1:1/ledger")
    assert SECRET not in database.place
    with pytest.raises(InjectError) as refused, database.reading():
        pass
    assert SECRET not in f"{refused.value.message} {refused.value.hint}"
    database.close()


def test_no_fact_holds_what_a_password_file_says(tmp_path: Path) -> None:
    contents = telescope_files(tmp_path / "data")
    with sqlite3.connect(tmp_path / "runs.db") as database:
        database.execute("CREATE TABLE files (name TEXT)")
        database.executemany("INSERT INTO files VALUES (?)", [(name,) for name in contents])
    database.close()
    source = {
        "kind": "sql",
        "url": f"sqlite:///{tmp_path}/runs.db",
        "query": "SELECT name AS path FROM files",
        "path": str(tmp_path / "data"),
    }
    world = World(tmp_path, {"end": None, "source": source})
    world.run()
    assert set(world.states()) == set(NAMES)
    told = [fact_text(fact)[1] for witness in world.witnesses for fact in witness.facts]
    assert told
    assert not any("sqlite://" in text for text in told)


def test_the_lakes_processes_show_no_secret(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path / "lake")
    paths.root.mkdir()
    (paths.root / "secrets").mkdir(exist_ok=True)
    secrets = {secret_of(paths, account) for account in ("root", "magic")}
    programs = Programs(paths, {"PATH": "/bin"})
    commands = [programs.server(), programs.daemons(hermes=True), programs.transfers(1)]
    for command in commands:
        seen = [*command.arguments, *command.environment.values()]
        assert not any(secret in text for secret in secrets for text in seen)


def test_a_ledger_is_nobody_elses(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with SqlLedger(tmp_path / "out" / "x.db", "x", clock=FakeClock()):
            made = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made}
    finally:
        os.umask(before)
    assert modes
    assert all(mode & 0o077 == 0 for mode in modes.values()), modes
