"""DID names with `+` and `/`, on a real lake whose schema takes them, and on one whose does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lake.campaigns import END, PATIENCE, SCOPE, Bench, campaign

from rucio_inject.lake.bringup import StartOptions
from rucio_inject.lake.content import default_text
from rucio_inject.lake.embedded import EmbeddedLake

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

RUN = "20200207_M1_05089099"
NAMES = [f"{RUN}.00{n}_Y_4C+41.11-W0.40+270.root" for n in (1, 2)]
DIDS = [f"Data/Calibrated/4C+41.11/2020_02_07/{name}" for name in NAMES]
DATASET = "4C+41.11/05089099"
CONTAINERS = ("2020_02_07", "2020_02_07/4C+41.11")
NAMING = {
    "characters": "+",
    "name": "Data/{level}/{source}/{night}/{name}",
    "dataset": "{source}/{run}",
    "containers": ["{night}", "{night}/{source}"],
}
RULES = [{"rse_expression": "PIC-DCACHE"}, {"rse_expression": "QOS=FAST"}]


@pytest.fixture(scope="module")
def site(short_folder: Callable[[], Path]) -> Iterator[EmbeddedLake]:
    """A lake whose schema takes `+`."""
    folder = short_folder()
    content = folder / "content.yaml"
    content.write_text(default_text().replace('name_characters: ""', 'name_characters: "+"'))
    lake = EmbeddedLake(folder / "lake")
    lake.start(StartOptions(content=content))
    yield lake
    lake.reset()


def taken(bench: Bench) -> dict[str, Any]:
    """A campaign that takes real files with such names."""
    folder = bench.folder / "origin"
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        (folder / name).write_bytes(name.encode())
    source = {"kind": "directory", "path": str(folder)}
    return campaign("sitenames", 1, source=source, rules=RULES, naming=NAMING, end=None)


def audited(bench: Bench, keys: dict[str, Any]) -> list[dict[str, Any]]:
    """What an audit finds."""
    command = [sys.executable, "-m", "rucio_inject", "audit", "--json", str(bench.write(keys))]
    done = subprocess.run(
        command,
        env=bench.environment(),
        cwd=bench.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["found"]["findings"]
    return found


def test_a_whole_life_under_such_names(site: EmbeddedLake, tmp_path: Path) -> None:
    bench = Bench(tmp_path, site)
    keys = taken(bench)
    ran = bench.run(keys)
    assert ran.code == 0, ran.err
    assert sorted(record.did.name for record in bench.records("sitenames")) == DIDS
    seen = json.loads(official(site, SEEN, *DIDS, DATASET, *CONTAINERS))
    assert seen["files"] == [
        {"name": did, "rses": ["LAPP-FAST", "PIC-DCACHE", "PIC-INJECT"], "same": True}
        for did in DIDS
    ]
    assert seen["dataset"] == DIDS
    assert seen["containers"] == {CONTAINERS[0]: [CONTAINERS[1]], CONTAINERS[1]: [DATASET]}
    assert seen["metadata"] == ["4C+41.11", "4C+41.11"]
    assert audited(bench, keys) == []
    # A replica is moved behind the catalogue's back: what lies there is told by its DID.
    (place,) = (site.paths.storage / "PIC-DCACHE").rglob(NAMES[0])
    dark = place.with_name(NAMES[0].replace(".001_", ".009_"))
    place.rename(dark)
    found = {(one["kind"], one["did"]) for one in audited(bench, keys)}
    assert ("lost", f"{SCOPE}:{DIDS[0]}") in found
    dark.rename(place)

    ended = bench.run({**keys, "end": END})
    assert ended.code == 0, ended.err
    assert ended.end["files"] == {"GONE": 2}
    left = [path for path in site.paths.storage.rglob("*") if path.is_file()]
    assert left == []
    assert (
        json.loads(official(site, "print(json.dumps(list(client.list_dids(SCOPE, [{}]))))")) == []
    )


def test_a_site_that_takes_no_such_names_says_so(
    running_lake: EmbeddedLake, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, running_lake)
    ran = bench.run(taken(bench))
    assert ran.code == 2
    assert "naming.characters: the site's schema takes no + in DID names" in ran.err
    named = {**NAMING, "characters": ""}
    again = bench.run({**taken(bench), "campaign": "generic", "naming": named})
    assert again.code == 0, again.err
    names = sorted(record.did.name for record in bench.records("generic"))
    assert names == [did.replace("+", "_") for did in DIDS]


def official(lake: EmbeddedLake, code: str, *arguments: str) -> str:
    """What a script with the official client prints: a process keeps one configuration."""
    script = f"{HEAD}\nSCOPE = {SCOPE!r}\n{code}"
    bench = Bench(Path("/tmp"), lake)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=bench.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAD = """
import json, sys, tempfile
from pathlib import Path
from rucio.client.client import Client
from rucio.client.downloadclient import DownloadClient
client = Client()
"""
SEEN = """
*files, dataset, outer, inner = sys.argv[1:]
told = []
folder = tempfile.mkdtemp()
for name in files:
    # Rucio's client makes no folders for what is before a slash.
    Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
    (replica,) = client.list_replicas([{"scope": SCOPE, "name": name}])
    asked = {"did": f"{SCOPE}:{name}", "base_dir": folder, "no_subdir": True, "rse": "LAPP-FAST"}
    (got,) = DownloadClient(client).download_dids([asked])
    content = Path(got["dest_file_paths"][0]).read_bytes()
    same = content == Path(name).name.encode()
    told.append({"name": name, "rses": sorted(replica["rses"]), "same": same})
print(json.dumps({
    "files": told,
    "dataset": sorted(row["name"] for row in client.list_content(SCOPE, dataset)),
    "containers": {
        box: [row["name"] for row in client.list_content(SCOPE, box)] for box in (outer, inner)
    },
    "metadata": [client.get_metadata(SCOPE, name, plugin="JSON").get("source") for name in files],
}))
"""
