"""A ledger of 2020 is imported, and its campaign then run: what is in the lake is taken up, and
what is not is brought, or told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.injection_world import HOLDERS, NAMES, SCOPE, World, telescope_files

from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import CycleBegun
from rucio_inject.domain.injection import FileState
from rucio_inject.ledger.seed_import import Importer
from rucio_inject.measuring import measure_file
from rucio_inject.ports import NewFile
from rucio_inject.terms import placing
from rucio_inject.testing.contracts.world import measured

UPLOAD = "PIC-INJECT"
THEN = "2020-10-26T11:26:21Z"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A campaign of real files, whose ledger is new."""
    telescope_files(tmp_path / "inbox")
    source = {"kind": "directory", "path": str(tmp_path / "inbox")}
    return World(tmp_path, {"source": source, "end": None})


def seed_of(world: World) -> dict[str, Any]:
    """What the scripts of 2020 wrote of the files."""
    return {
        path.name: {
            "Scope": SCOPE,
            "Replicated": {
                "Local": {
                    "registered": THEN,
                    "checksum": measure_file(path).md5,
                    "path": str(path),
                },
                UPLOAD: {"registered": THEN},
                "QOS=FAST": {"registered": THEN},
            },
        }
        for path in sorted((world.folder / "inbox").iterdir())
    }


def put_into_lake(world: World, *, other_content: bool = False) -> None:
    """As the scripts of 2020 left it: registered at the upload RSE, and in no rule's care."""
    world.lake.scopes[SCOPE] = world.lake.account
    for path in sorted((world.folder / "inbox").iterdir()):
        did = DID(SCOPE, path.name)
        content = b"other events" if other_content else path.read_bytes()
        there = world.folder / "there"
        there.write_bytes(content)
        world.storage.put(UPLOAD, there, did)
        world.catalogue.add_files(UPLOAD, [NewFile(did, measured(content))])
    world.lake.registrations.clear()


def take_over(world: World, seed: dict[str, Any]) -> dict[str, int]:
    """Import a seed, as `rucio-inject ledger import` does; how many files are in which state."""
    path = world.folder / "seed.json"
    path.write_text(json.dumps(seed))
    now = datetime.now(UTC)
    with world.ledger() as ledger:
        importer = Importer(
            place=placing(world.campaign),
            measure=measure_file,
            known=lambda did: ledger.file(did) is not None,
            upload_rse=UPLOAD,
            cycle=1,
            now=now,
        )
        facts, states = importer.facts(path)
        ledger.record([*facts, CycleBegun(at=now, cycle=1)])
    return {str(state): count for state, count in states.items()}


def test_what_is_in_the_lake_is_adopted_and_proved(world: World) -> None:
    put_into_lake(world)
    assert take_over(world, seed_of(world)) == {"REGISTERED": len(NAMES)}
    outcome = world.run()
    assert dict(outcome.by_state) == {FileState.VERIFIED: len(NAMES)}
    assert outcome.totals.adopted == len(NAMES)
    assert world.lake.registrations == []
    for record in world.files():
        assert set(record.replicas) == set(HOLDERS)
        assert all(known.read_back == record.measure for known in record.replicas.values())
    assert world.broken() == []
    assert not world.run().changed


def test_it_is_not_ended_by_a_campaign_that_did_not_bring_it(world: World) -> None:
    put_into_lake(world)
    take_over(world, seed_of(world))
    world.changes["end"] = {"lifetime": "5s", "deadline": "60s"}
    kept = set(world.run().kept.values())
    assert kept == {"it holds files that were in the lake before this campaign"}
    assert all(rule.expires_at is None for rule in world.lake.rules.values())


def test_what_is_gone_from_the_lake_is_brought_again(world: World) -> None:
    assert take_over(world, seed_of(world)) == {"REGISTERED": len(NAMES)}
    outcome = world.run()
    assert dict(outcome.by_state) == {FileState.VERIFIED: len(NAMES)}
    assert (outcome.totals.adopted, outcome.totals.injected) == (0, len(NAMES))
    assert sorted(did.name for did in world.lake.registrations) == sorted(NAMES)
    assert world.broken() == []


def test_what_has_no_source_any_more_is_told(world: World) -> None:
    put_into_lake(world)
    seed = seed_of(world)
    (world.folder / "inbox" / NAMES[0]).unlink()
    (world.folder / "inbox" / NAMES[1]).write_bytes(b"a new observation of the same name")
    assert take_over(world, seed) == {"QUARANTINED": 2, "REGISTERED": 1}
    outcome = world.run()
    failures = {record.did.name: record.failure for record in outcome.failed}
    assert set(failures) == {NAMES[0], NAMES[1]}
    unreadable, changed = failures[NAMES[0]], failures[NAMES[1]]
    assert unreadable is not None
    assert unreadable.code == "source-unreadable"
    # The source is there with other bytes, and the lake has the name.
    assert changed is not None
    assert changed.code == "conflict"
    assert world.states()[NAMES[2]] == "VERIFIED"


def test_other_bytes_in_the_lake_are_told(world: World) -> None:
    put_into_lake(world, other_content=True)
    assert take_over(world, seed_of(world)) == {"REGISTERED": len(NAMES)}
    outcome = world.run()
    assert {r.failure.code for r in outcome.failed if r.failure} == {"conflict"}
    assert len(outcome.failed) == len(NAMES)
    assert world.lake.rules == {}
