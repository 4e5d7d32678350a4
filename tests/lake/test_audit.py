"""`rucio-inject audit` on a real lake; what is there, and what it did, is asked of the official
client."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from tests.lake.campaigns import HOLDERS, PATIENCE, SCOPE, Bench, Ran, campaign, wait_until

from rucio_inject.domain.errors import NotPermitted
from rucio_inject.rucio.session import Session, SignIn
from rucio_inject.testing.contracts.catalogue import BadReplicasContract
from rucio_inject.testing.contracts.world import ContractWorld

if TYPE_CHECKING:
    from tests.lake.conftest import OfficialClient

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

RUN = "05089201"
NAME = "20200207_M1_05089201.00{}_D_Perseus-MA-W0.26-288.root"


@pytest.fixture
def world(bench: Bench, official_client: OfficialClient, tmp_path: Path) -> Iterator[ContractWorld]:
    """The lake as root sees it, who alone may declare replicas bad."""
    from rucio_inject.rucio.catalogue import RucioCatalogue
    from rucio_inject.rucio.storage import RucioStorage

    official_client("root")
    session = Session(SignIn(account="root"))
    yield ContractWorld(
        catalogue=RucioCatalogue(session),
        storage=RucioStorage(session),
        # Root has no quota: the rules are magic's.
        account="magic",
        scope=SCOPE,
        foreign_scope="nobody's",
        rse="PIC-INJECT",
        other="LAPP-FAST",
        expression="QOS=FAST",
        tag=uuid4().hex[:8],
        folder=tmp_path,
        settle=wait_until,
        link=lambda parent, child: None,
        numbers=count(1),
    )
    session.client().session.close()


class TestRucioBadReplicas(BadReplicasContract):
    """The real one passes."""


def test_other_accounts_may_not_declare_replicas_bad(
    world: ContractWorld, official_client: OfficialClient
) -> None:
    from rucio_inject.rucio.catalogue import RucioCatalogue

    did = world.registered()
    official_client("magic")
    session = Session(SignIn(account="magic"))
    theirs = replace(world, catalogue=RucioCatalogue(session))
    with pytest.raises(NotPermitted, match="bad"):
        theirs.catalogue.mark_bad(world.rse, [did], "it is not there")
    session.client().session.close()


def test_a_closed_dataset_is_known_as_such(
    world: ContractWorld, official_client: OfficialClient
) -> None:
    dataset = world.name("closed")
    magic = official_client("magic")
    magic.add_dataset(dataset.scope, dataset.name)
    magic.set_status(dataset.scope, dataset.name, open=False)
    assert not world.catalogue.look_up_collections([dataset])[dataset].open


def audit(bench: Bench, keys: dict[str, Any], *options: str, account: str = "magic") -> Ran:
    """Run the command, with a JSON object as its last word."""
    command = [sys.executable, "-m", "rucio_inject", "audit", "--json", "--account", account]
    done = subprocess.run(
        [*command, *options, str(bench.write(keys))],
        env={**os.environ, **bench.lake.environment(account)},
        cwd=bench.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def counted(ran: Ran, which: str = "found") -> dict[str, int]:
    """Findings by kind."""
    found: dict[str, int] = ran.end[which]["counts"]
    return found


def stored(bench: Bench, rse: str, name: str) -> Path:
    """Where the storage of an RSE keeps a file."""
    (path,) = (bench.lake.paths.storage / rse).rglob(name)
    return path


def test_what_others_did_is_found_and_mended(bench: Bench, official_client: OfficialClient) -> None:
    sources = {NAME.format(number): f"events of {number}".encode() for number in range(1, 5)}
    inbox = bench.folder / "inbox"
    inbox.mkdir()
    for name, content in sources.items():
        (inbox / name).write_bytes(content)
    source = {"kind": "directory", "path": str(inbox)}
    keys = campaign("audited", 0, source=source, end=None)
    assert bench.run(keys).code == 0
    clean = audit(bench, keys, "--checksums")
    # Other campaigns of the session may have left files in the scope.
    assert set(counted(clean)) <= {"dark"}, clean.out
    others = counted(clean).get("dark", 0)

    magic, root = official_client("magic"), official_client("root")
    ours, theirs = damage(bench, magic)
    # Whoever asks Rucio about these is refused, or cannot even ask.
    odd = [stored_oddly(bench, name) for name in (b"semi;colon", b"latin\xff", b"li\nne")]
    sizes = audit(bench, keys)
    assert (sizes.code, "corrupt" in counted(sizes)) == (4, False), sizes.out
    found = audit(bench, keys, "--checksums")
    expected = {"lost": 1, "corrupt": 1, "dataset": 1, "rule": 2, "dark": 5 + others}
    assert (found.code, counted(found)) == (4, expected), found.out

    may_not = audit(bench, keys, "--fix", "--checksums")
    assert may_not.code == 4, may_not.err
    assert Counter((r["repair"], r["made"]) for r in may_not.end["repaired"]) == {
        ("mark the replica bad", False): 2,
        ("attach it", True): 1,
        ("take the rule's end back", True): 1,
    }
    rights = [r["error"] for r in may_not.end["repaired"] if not r["made"]]
    assert all("rucio-inject lake env --account root" in error for error in rights), rights

    fixed = audit(bench, keys, "--fix", "--checksums", account="root")
    assert fixed.code == 3, (fixed.out, fixed.err)
    assert [r["made"] for r in fixed.end["repaired"]] == [True, True]
    assert not {"lost", "corrupt"} & set(counted(fixed, "left")), fixed.out
    # What Rucio makes anew is to be read back.
    assert fixed.end["left"]["waiting"] == 2, fixed.out
    wait_until(lambda: all_available(root, sources))
    again = bench.run(keys)
    assert again.code == 0, again.out
    last: list[dict[str, int]] = []

    def is_clean() -> bool:
        # Rucio takes its time with what was attached and asked for again.
        last.append(counted(audit(bench, keys, "--checksums")))
        return last[-1] == {"dark": 5 + others}

    wait_until(is_clean)
    assert_all_is_right(bench, magic, sources)
    assert {path.name: path.read_bytes() for path in inbox.iterdir()} == sources
    # The upload of that file has ended: the partial one may be anybody's.
    assert (ours.read_bytes(), theirs.read_bytes()) == (b"eve", b"somebody's")
    assert repairs_on_record(bench, "audited") == {"RepairAsked": 6, "RepairMade": 6}
    for path in (ours, theirs, *odd):
        path.unlink()


def stored_oddly(bench: Bench, name: bytes) -> Path:
    """A file whose name Rucio does not take, at the place that would be its own."""
    digest = hashlib.md5(f"{SCOPE}:".encode() + name, usedforsecurity=False).hexdigest()
    (prefix,) = {
        path.parents[2] for path in (bench.lake.paths.storage / "PIC-INJECT").rglob(NAME.format(1))
    }
    path = prefix / digest[:2] / digest[2:4] / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"odd")
    return path


def damage(bench: Bench, magic: Any) -> tuple[Path, Path]:
    """A replica corrupted and one deleted on disk, a file taken out of its dataset, a rule ended
    and one given an end; and dark files: part of an upload, and one of somebody else."""
    victim = stored(bench, "PIC-DCACHE", NAME.format(1))
    victim.write_bytes(bytes(byte ^ 1 for byte in victim.read_bytes()))
    stored(bench, "LAPP-FAST", NAME.format(2)).unlink()
    at_upload = stored(bench, "PIC-INJECT", NAME.format(2))
    ours = at_upload.with_name(f"{at_upload.name}.0123456789ab.rucio.upload")
    theirs = at_upload.with_name("notes.txt")
    ours.write_bytes(b"eve")
    theirs.write_bytes(b"somebody's")
    magic.detach_dids(SCOPE, RUN, [{"scope": SCOPE, "name": NAME.format(3)}])
    rules = {rule["rse_expression"]: rule["id"] for rule in magic.list_did_rules(SCOPE, RUN)}
    # The client's own deletion of a rule takes an hour.
    magic.update_replication_rule(rules["INFN-NA-DPM"], {"lifetime": 1})
    magic.update_replication_rule(rules["PIC-DCACHE"], {"lifetime": 86400})
    wait_until(lambda: len(list(magic.list_did_rules(SCOPE, RUN))) == len(HOLDERS) - 1)
    return ours, theirs


def all_available(client: Any, names: Iterable[str]) -> bool:
    """Whether Rucio has every replica back that was declared bad."""
    dids = [{"scope": SCOPE, "name": name} for name in names]
    rows = client.list_replicas(dids, all_states=True)
    return all(set(row["states"].values()) == {"AVAILABLE"} for row in rows)


def assert_all_is_right(bench: Bench, magic: Any, sources: Mapping[str, bytes]) -> None:
    """As the campaign left it: dataset, rules without an end, every replica, every byte."""
    assert {row["name"] for row in magic.list_content(SCOPE, RUN)} == set(sources)
    live = {rule["rse_expression"]: rule for rule in magic.list_did_rules(SCOPE, RUN)}
    assert set(live) == {"PIC-INJECT", "PIC-DCACHE", "INFN-NA-DPM", "QOS=FAST"}
    assert {(rule["state"], rule["expires_at"]) for rule in live.values()} == {("OK", None)}
    for name, content in sources.items():
        (row,) = magic.list_replicas([{"scope": SCOPE, "name": name}])
        assert set(row["rses"]) == set(HOLDERS)
        assert [stored(bench, rse, name).read_bytes() for rse in HOLDERS] == [content] * 4


def repairs_on_record(bench: Bench, name: str) -> dict[str, int]:
    """How many facts about repairs the ledger holds."""
    with closing(sqlite3.connect(bench.output(name) / f"{name}.db")) as database:
        rows = database.execute("SELECT kind FROM inject_events WHERE kind LIKE 'Repair%'")
        return dict(Counter(kind for (kind,) in rows))
