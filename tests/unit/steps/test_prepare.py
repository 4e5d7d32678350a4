"""What a campaign's words mean on a lake, before anything is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import CatalogueRefused, NotPermitted, SignInFailed, UsageError
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.prepare import (
    Lake,
    prepare_scope,
    refuse_characters,
    set_attributes,
    survey,
)
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_lake import MemoryLake
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf

FAST, DCACHE = RuleRequest("QOS=FAST"), RuleRequest("PIC-DCACHE")


@pytest.fixture
def lake() -> MemoryLake:
    return MemoryLake(FakeClock())


@pytest.fixture
def catalogue(lake: MemoryLake) -> MemoryCatalogue:
    return MemoryCatalogue(lake)


@pytest.fixture
def journal() -> Iterator[Journal]:
    with MemoryLedger(Shelf()) as ledger:
        yield Journal(ledger, [], FakeClock())


def surveyed(catalogue: MemoryCatalogue, *rules: RuleRequest, rse: str = "PIC-INJECT") -> Lake:
    """A survey for some rules."""
    return survey(catalogue, account=None, upload_rse=rse, rules=rules, attributes={})


def test_expressions_become_rses(catalogue: MemoryCatalogue) -> None:
    lake = surveyed(catalogue, FAST, RuleRequest("site=PIC", 2))
    assert lake.identity.account == "magic"
    assert lake.rses == {"QOS=FAST": ("LAPP-FAST",), "site=PIC": ("PIC-DCACHE", "PIC-INJECT")}
    assert lake.all_rses() == ("PIC-INJECT", "LAPP-FAST", "PIC-DCACHE")


@pytest.mark.parametrize("rse", ["NO-SUCH-RSE", "site=PIC"])
def test_the_upload_rse_is_one_rse(catalogue: MemoryCatalogue, rse: str) -> None:
    with pytest.raises(UsageError, match=r"upload\.rse"):
        surveyed(catalogue, FAST, rse=rse)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (RuleRequest("QOS=NONE"), "QOS=NONE"),
        (RuleRequest("((("), "no RSE expression"),
        (RuleRequest("QOS=FAST", 2), "2 copies"),
    ],
)
def test_a_rule_that_cannot_be_names_its_place(
    catalogue: MemoryCatalogue, rule: RuleRequest, reason: str
) -> None:
    with pytest.raises(UsageError, match=r"rules\.1\.rse_expression") as caught:
        surveyed(catalogue, DCACHE, rule)
    assert reason in caught.value.message


def test_a_survey_changes_nothing(lake: MemoryLake, catalogue: MemoryCatalogue) -> None:
    surveyed(catalogue, FAST)
    assert (lake.scopes, lake.files, lake.collections, lake.rules) == ({}, {}, {}, {})


def test_rucio_may_take_us_for_another(catalogue: MemoryCatalogue) -> None:
    """A cached token of another account signs in as that one."""
    with pytest.raises(SignInFailed, match="magic"):
        survey(catalogue, account="cta", upload_rse="PIC-INJECT", rules=[FAST], attributes={})


def test_a_scope_is_made_once(catalogue: MemoryCatalogue, journal: Journal) -> None:
    assert prepare_scope(journal, catalogue, "MAGIC", "magic") is True
    assert prepare_scope(journal, catalogue, "MAGIC", "magic") is False


@pytest.mark.parametrize("value", [False, True, "SAFE", 7])
def test_attributes_are_set_and_read_back(
    lake: MemoryLake, catalogue: MemoryCatalogue, journal: Journal, value: str | int | bool
) -> None:
    for _ in range(2):
        set_attributes(journal, catalogue, {"PIC-INJECT": {"greedyDeletion": value}})
    assert str(lake.rses["PIC-INJECT"].attributes["greedyDeletion"]) == str(value)


def test_an_attribute_that_does_not_take(
    lake: MemoryLake, catalogue: MemoryCatalogue, journal: Journal
) -> None:
    lake.rses["PIC-INJECT"].frozen_attributes = True
    with pytest.raises(NotPermitted, match="greedyDeletion"):
        set_attributes(journal, catalogue, {"PIC-INJECT": {"greedyDeletion": False}})


def test_attributes_of_no_rse(catalogue: MemoryCatalogue) -> None:
    with pytest.raises(UsageError, match=r"rse_attributes\.NO-SUCH-RSE"):
        survey(
            catalogue,
            account=None,
            upload_rse="PIC-INJECT",
            rules=[FAST],
            attributes={"NO-SUCH-RSE": {"x": True}},
        )


def test_characters_that_the_site_does_not_take(
    catalogue: MemoryCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def missing(dids: Sequence[DID]) -> frozenset[DID]:
        asked.extend(did.name for did in dids)
        if any(char in did.name for did in dids for char in "%="):
            raise CatalogueRefused("Provided object does not match schema")
        return frozenset(dids)

    monkeypatch.setattr(catalogue, "missing", missing)
    refuse_characters(catalogue, "MAGIC", "")
    assert asked == []
    refuse_characters(catalogue, "MAGIC", "+@")
    assert asked == ["A+@A"]
    with pytest.raises(UsageError, match="takes no % and no = in DID names"):
        refuse_characters(catalogue, "MAGIC", "+%=")
