"""The real world as a run gets it, with a server that plays Rucio and a folder that is an RSE."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests.injection_world import MOCK, campaign_keys
from tests.unit.rucio.fake_rucio import Answer, FakeServer
from tests.unit.rucio.test_storage import FILE, settings_of

from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli import run
from rucio_inject.factory import Ports
from rucio_inject.rucio.session import SignIn
from rucio_inject.testing.fake_clock import FakeClock


@contextmanager
def ports_of(folder: Path, **keys: Any) -> Iterator[Ports]:
    """What a campaign with these keys would run on."""
    campaign = Campaign.model_validate(campaign_keys(folder, **keys))
    ports = run._ports(campaign, SignIn(), FakeClock(), None)
    yield ports
    cast("Any", ports.storage)._session.client().session.close()


@pytest.mark.parametrize(
    ("source", "waits"),
    [
        ({"kind": "inbox", "free": True}, True),
        ({"kind": "directory", "free": True}, True),
        ({"kind": "paths", "list": "list.txt", "free": True}, True),
        ({"kind": "inbox", "free": False}, False),
        ({"kind": "directory"}, False),
        # They can be made again.
        (MOCK, False),
    ],
)
def test_bytes_are_on_the_disk_before_the_only_other_copy_is_removed(
    server: FakeServer,
    rucio_cfg: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: dict[str, Any],
    waits: bool,
) -> None:
    pool, file, synced = tmp_path / "pool", tmp_path / "file", list[str]()
    pool.mkdir()
    file.write_bytes(b"content")
    server.answers["/rses/RSE"] = Answer.of(settings_of(pool))
    path = {} if source["kind"] == "mock" else {"path": str(tmp_path)}
    sync = os.fsync

    def watched(descriptor: int) -> None:
        sync(descriptor)
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    end = None if source.get("free") else {"lifetime": "5s", "deadline": "60s"}
    with ports_of(tmp_path, source={**source, **path}, end=end) as ports:
        monkeypatch.setattr("os.fsync", watched)
        pfn = ports.storage.put("RSE", file, FILE).pfn
        assert ports.storage.measure("RSE", pfn).size == 7
    in_pool = [Path(name).name for name in synced if name.startswith(str(pool))]
    written = [name for name in in_pool if name.endswith(".rucio.upload")]
    assert (len(written), in_pool[-1:]) == ((1, [Path(pfn).name]) if waits else (0, []))
