"""The whole workflow on a real lake; what it did is asked of the official CLI and client."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tests.lake.campaigns import END, HOLDERS, RULES, SCOPE, Bench, campaign

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

CAMPAIGNS = Path(__file__).parents[2] / "campaigns"
Official = Callable[[str], Any]
RucioCLI = Callable[..., "subprocess.CompletedProcess[str]"]

SOURCE = {
    "kind": "mock",
    "seed": 5,
    # A night of its own: other tests leave files in theirs.
    "night": "2021-03-04",
    "runs": 2,
    "subruns": 2,
    "types": ["D", "Q"],
    "payload": {"kind": "root", "events": 3000},
}


def assert_downloads(rucio_cli: RucioCLI, ledger: dict[str, Any], folder: Path) -> None:
    """The official CLI gets a file from the RSE that alone is fast, with the ledger's md5."""
    name = min(ledger)
    asked = rucio_cli("download", f"{SCOPE}:{name}", "--rses", "LAPP-FAST", "--dir", str(folder))
    assert asked.returncode == 0, asked.stderr
    downloaded = (folder / SCOPE / name).read_bytes()
    expected = ledger[name]["Replicated"]["Local"]["checksum"]
    assert hashlib.md5(downloaded).hexdigest() == expected


def test_a_campaign_from_its_files_to_their_end(
    bench: Bench, official_client: Official, rucio_cli: RucioCLI, tmp_path: Path
) -> None:
    keys = campaign("whole", 5, source=SOURCE, access={"analyse": True}, end=None)
    keys["rse_attributes"] = {"PIC-INJECT": {"greedyDeletion": False}}
    keys["seed_ledger"] = "whole.json"

    injected = bench.run(keys)
    assert injected.code == 0, injected.err
    assert injected.end["files"] == {"VERIFIED": 10}

    client = official_client("magic")
    ledger = json.loads((bench.output("whole") / "whole.json").read_text())
    datasets = {name.split("_")[1 if "_M" not in name else 2].split(".")[0] for name in ledger}
    assert len(datasets) == 2
    attributes = client.list_rse_attributes("PIC-INJECT")
    assert attributes["greedyDeletion"] is False

    for dataset in datasets:
        content = {row["name"] for row in client.list_content(SCOPE, dataset)}
        assert content == {name for name in ledger if dataset in name}
        rules = list(client.list_did_rules(SCOPE, dataset))
        assert {rule["state"] for rule in rules} == {"OK"}
        assert {rule["rse_expression"] for rule in rules} == {"PIC-INJECT", *RULES}
        assert {rule["locks_ok_cnt"] for rule in rules} == {len(content)}

    dids = [{"scope": SCOPE, "name": name} for name in ledger]
    for replica in client.list_replicas(dids):
        assert set(replica["rses"]) == set(HOLDERS)
        entry = ledger[replica["name"]]["Replicated"]
        assert replica["md5"] == entry["Local"]["checksum"]
        for rse in HOLDERS:
            assert entry[rse]["checksum"] == entry["Local"]["checksum"]
        told = client.get_metadata(SCOPE, replica["name"], plugin="ALL")
        assert told["night"] == "2021_03_04"
        assert told["telescope"] in {"M1", "M2", "ST"}
        assert told["datatype"] in {"Calibrated", "Melibea"}

    assert_downloads(rucio_cli, ledger, tmp_path)
    numbers = json.loads((bench.output("whole") / "physics.json").read_text())
    assert numbers["n_on"] > 0
    assert (bench.output("whole") / "physics.png").stat().st_size > 10_000

    ended = bench.run({**keys, "end": END})
    assert ended.code == 0, ended.err
    assert ended.end["files"] == {"GONE": 10}

    assert list(client.list_replicas(dids)) == []
    rules = client.list_replication_rules({"scope": SCOPE, "account": "magic"})
    assert [rule["id"] for rule in rules if rule["name"] in datasets] == []
    for dataset in datasets:
        asked = rucio_cli("did", "show", f"{SCOPE}:{dataset}")
        assert asked.returncode != 0
        assert "not found" in (asked.stdout + asked.stderr).lower()
    containers = list(client.list_dids(SCOPE, [{}], did_type="container"))
    assert [c for c in containers if c.startswith("2021_03_04")] == []
    for rse in HOLDERS:
        left = [p for p in (bench.lake.paths.storage / rse).rglob("*") if p.name in ledger]
        assert left == []
    assert not list((bench.output("whole") / "source").glob("*.root"))

    again = bench.run({**keys, "end": END})
    assert again.code == 0
    assert again.end["changed"] is False


def test_the_curve_of_the_highlighted_rse_rises_and_falls(bench: Bench) -> None:
    monitor = {"interval": 0.2, "highlight": "PIC-DCACHE"}
    # Long enough for who counts on a busy machine to see them.
    keys = campaign("curve", 6, monitor=monitor, end={**END, "lifetime": "5s"})
    assert bench.run(keys).code == 0
    lines = (bench.output("curve") / "counts.jsonl").read_text().splitlines()
    counts = [json.loads(line) for line in lines]
    of_rse = [count for count in counts if count["rse"] == "PIC-DCACHE"]
    for witness in ("catalogue", "storage"):
        files = [count[witness]["files"] for count in of_rse]
        assert max(files) >= files[0] + 2, witness
        assert files[-1] == files[0], witness
    assert (bench.output("curve") / "figure1.png").read_bytes()[:4] == b"\x89PNG"


def test_another_cycle_has_other_files(bench: Bench) -> None:
    keys = campaign("cycles", 7)
    assert bench.run(keys).end["cycle"] == 1
    assert bench.run(keys).end["changed"] is False
    second = bench.run(keys, "--new-cycle")
    assert (second.code, second.end["cycle"], second.end["files"]) == (0, 2, {"GONE": 2})
    assert [record.cycle for record in bench.records("cycles")] == [1, 1, 2, 2]


def test_real_files_of_a_folder_are_kept(bench: Bench, official_client: Official) -> None:
    inbox = bench.folder / "inbox"
    inbox.mkdir()
    names = [f"20200203_M2_05089014.00{n}_D_Perseus-MA-W0.26+108.root" for n in (1, 2)]
    for name in names:
        (inbox / name).write_bytes(name.encode() * 100)
    (inbox / "MD5SUMS").write_text("no data\n")
    source = {"kind": "directory", "path": "inbox"}
    keys = campaign("folder", 0, source=source, end=None, naming={"dataset": "{run}.{level}"})
    ran = bench.run(keys)
    assert ran.code == 0, ran.err
    content = official_client("magic").list_content(SCOPE, "05089014.Calibrated")
    assert {row["name"] for row in content} == {name.replace("+", "_") for name in names}
    assert all((inbox / name).exists() for name in names)

    (inbox / names[0].replace(".001", ".003")).write_bytes(b"a later subrun")
    later = bench.run(keys)
    assert (later.code, later.end["cycle"], later.end["files"]) == (0, 1, {"VERIFIED": 3})
    assert bench.run({**keys, "end": END}).code == 0


def test_names_of_a_listing_become_files(bench: Bench) -> None:
    (bench.folder / "names.txt").write_text(
        "/data/M1/OSA/Calibrated/2019/08/01/20190801_M1_05083814.005_Y_Mrk501-W0.40+270.root\n"
        "20201210/LST-1.1.Run03115.0000.fits.fz\n"
        "/data/M1/OSA/Calibrated/2019/08/01/\n"
    )
    source = {"kind": "listing", "path": "names.txt", "payload": {"kind": "raw", "size": "5kB"}}
    ran = bench.run(campaign("listed", 0, source=source))
    assert ran.code == 3
    assert ran.end["files"] == {"GONE": 2}
    assert ran.end["skipped"] == 1
    assert "is a folder, not a file" in ran.end["skip_reasons"][0]


def test_the_functional_test_runs_as_its_file_says(bench: Bench, official_client: Official) -> None:
    """But for the minute that its rules live on."""
    keys = YAML(typ="safe").load((CAMPAIGNS / "functional-test.yaml").read_text())
    keys["end"]["lifetime"] = "1s"
    ran = bench.run(keys, "--new-cycle")
    assert ran.code == 0, ran.err
    assert (ran.end["cycle"], ran.end["files"]) == (1, {"GONE": 2})
    assert ran.end["replicas_read_back"] == ran.end["replicas_gone"] == 6
    client = official_client("magic")
    datasets = {record.dataset.name for record in bench.records("functional-test")}
    assert len(datasets) == 1
    there = client.list_dids(SCOPE, [{}], did_type="all")
    assert [name for name in there if name in datasets or "_FunctTest-" in name] == []
    storages = bench.lake.paths.storage
    assert [path for path in storages.rglob("*_FunctTest-*") if path.is_file()] == []
