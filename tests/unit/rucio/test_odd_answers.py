"""Whatever answers in Rucio's place: every call ends in an error of our tree, or in sense."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.rucio.fake_rucio import JSON, STREAM, Answer, FakeServer

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import CatalogueRefused, CatalogueUnavailable, SignInFailed
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.ports import NewFile, Space
from rucio_inject.rucio.session import Session

if TYPE_CHECKING:
    from rucio_inject.rucio.catalogue import RucioCatalogue

Call = Callable[["RucioCatalogue"], object]

FILE = DID("scope", "file")
DATASET = DID("scope", "dataset")
MEASURE = Measure(1, "00000001", "0" * 32)
PAGE = b"<!DOCTYPE html><html><body>Welcome</body></html>"

CALLS: dict[str, Call] = {
    "whoami": lambda c: c.whoami(),
    "ensure_scope": lambda c: c.ensure_scope("scope", "magic"),
    "resolve": lambda c: c.resolve("QOS=FAST"),
    "quota": lambda c: c.quota("magic", "RSE"),
    "find": lambda c: c.find([FILE]),
    "look_up": lambda c: c.look_up([FILE]),
    "missing": lambda c: c.missing([FILE]),
    "add_collections": lambda c: c.add_collections({DATASET: DIDType.DATASET}),
    "contents": lambda c: c.contents(DATASET),
    "add_rules": lambda c: c.add_rules([DATASET], RuleRequest("RSE"), "magic"),
    "hold": lambda c: c.hold([DATASET], "RSE", "magic"),
    "rules": lambda c: c.rules([DATASET], "magic"),
    "locks": lambda c: c.locks("rule"),
    "stuck_files": lambda c: c.stuck_files("rule"),
    "usage": lambda c: c.usage("RSE"),
    "look_up_collections": lambda c: c.look_up_collections([DATASET]),
}
# Any mapping may be the attributes of an RSE, and Rucio answers a change with nothing.
LENIENT: dict[str, Call] = {"rse_attributes": lambda c: c.rse_attributes("RSE")}
CHANGES: dict[str, Call] = {
    "set_rse_attribute": lambda c: c.set_rse_attribute("RSE", "key", "value"),
    "attach": lambda c: c.attach({DATASET: [FILE]}),
    "place_files": lambda c: c.place_files("RSE", {DATASET: [NewFile(FILE, MEASURE)]}),
    "end_rule": lambda c: c.end_rule("rule", 60),
    "expire_collection": lambda c: c.expire_collection(DATASET, 60),
}

NO_JSON = {
    "page": Answer(PAGE, "text/html; charset=utf-8"),
    "page as JSON": Answer(PAGE, JSON),
    "page as a stream": Answer(PAGE, STREAM),
    "cut": Answer(b'{"account": "ma'),
    "cut in the stream": Answer(b'{"scope": "scope", "name": "file"}\n{"scope": "sc', STREAM),
    "empty": Answer(b""),
    "empty page": Answer(b"", "text/html"),
    "empty, of no type": Answer(b"", ""),
    "not UTF-8": Answer(b'\xff\xfe"', STREAM),
}
NO_MAPPING = {
    "list": Answer.of([1]),
    "text": Answer.of("Welcome"),
    "null": Answer.of(None),
    "number": Answer.of(3),
}
NO_KEYS = {"no key": Answer.of({"some": "thing"}), "no key in a row": Answer.stream({"some": 1})}


def cases(calls: dict[str, Call], *answers: dict[str, Answer]) -> list[Any]:
    """Every call with every answer."""
    return [
        pytest.param(call, answer, id=f"{name}-{odd}")
        for name, call in calls.items()
        for some in answers
        for odd, answer in some.items()
    ]


@pytest.mark.parametrize(
    ("call", "answer"),
    cases(CALLS, NO_JSON, NO_MAPPING, NO_KEYS) + cases(LENIENT, NO_JSON, NO_MAPPING),
)
def test_an_answer_that_makes_no_sense(
    server: FakeServer, catalogue: RucioCatalogue, call: Call, answer: Answer
) -> None:
    server.default = answer
    with pytest.raises(
        CatalogueUnavailable, match=r"^cannot .*: the answer makes no sense"
    ) as told:
        call(catalogue)
    assert "proxy" in str(told.value.hint)


@pytest.mark.parametrize("answer", [Answer.of([]), Answer.of([1]), Answer(PAGE), Answer()])
def test_a_rule_made_without_its_id(
    server: FakeServer, catalogue: RucioCatalogue, answer: Answer
) -> None:
    server.default = Answer(answer.body, answer.kind, 201)
    with pytest.raises(CatalogueUnavailable, match="makes no sense"):
        catalogue.add_rules([DATASET], RuleRequest("RSE"), "magic")


@pytest.mark.parametrize("call", CHANGES.values(), ids=CHANGES)
def test_a_page_is_no_change_made(
    server: FakeServer, catalogue: RucioCatalogue, call: Call
) -> None:
    server.default = Answer(PAGE, "text/html")
    with pytest.raises(CatalogueUnavailable, match="makes no sense"):
        call(catalogue)


def test_a_change_is_answered_with_nothing(server: FakeServer, catalogue: RucioCatalogue) -> None:
    server.default = Answer(b"", "text/html; charset=utf-8")
    catalogue.end_rule("rule", 60)
    assert server.asked[-1] == "/rules/rule"


def test_what_rucio_does_not_know_itself_may_work_later(
    server: FakeServer, catalogue: RucioCatalogue
) -> None:
    """As it says when its database was killed, though it calls that a bad request."""
    server.default = Answer.error("RucioException", 400, "Badly formatted input (IDs?)")
    with pytest.raises(CatalogueUnavailable, match="Badly formatted"):
        catalogue.rules([DATASET], "magic")


def test_an_empty_stream_is_an_empty_list(server: FakeServer, catalogue: RucioCatalogue) -> None:
    server.default = Answer(b"", STREAM)
    assert catalogue.contents(DATASET) == ()
    assert catalogue.missing([FILE]) == {FILE}
    assert list(catalogue.locks("rule")) == []


@pytest.mark.parametrize("name", ["whoami", "stuck_files"])
def test_an_empty_stream_is_no_mapping(
    server: FakeServer, catalogue: RucioCatalogue, name: str
) -> None:
    server.default = Answer(b"", STREAM)
    with pytest.raises(CatalogueUnavailable, match=r"makes no sense \(it is empty\)"):
        CALLS[name](catalogue)


def test_pages_are_refused_after_signing_in_again(
    server: FakeServer, session: Session, catalogue: RucioCatalogue
) -> None:
    old = session.client().session
    server.default = Answer.error("CannotAuthenticate", 401)
    with pytest.raises(SignInFailed, match="cannot list"):
        catalogue.locks("rule")
    assert session.client().session is not old
    old.close()
    server.default = Answer(b"", "text/html")
    with pytest.raises(CatalogueUnavailable, match="makes no sense"):
        catalogue.locks("rule")


@pytest.mark.parametrize("body", [b"null", b"3"])
def test_an_error_that_is_no_mapping(
    server: FakeServer, catalogue: RucioCatalogue, body: bytes
) -> None:
    server.default = Answer(body, JSON, 500)
    with pytest.raises(CatalogueUnavailable, match="makes no sense"):
        catalogue.whoami()


@pytest.mark.parametrize("status", [500, 429])
def test_an_error_page_that_passes(
    server: FakeServer, catalogue: RucioCatalogue, status: int
) -> None:
    server.default = Answer(PAGE, "text/html", status)
    with pytest.raises(CatalogueUnavailable, match=str(status)):
        catalogue.whoami()


def test_an_error_page_that_asks_who_we_are(server: FakeServer, catalogue: RucioCatalogue) -> None:
    server.default = Answer(PAGE, "text/html", 401)
    with pytest.raises(SignInFailed, match="401"):
        catalogue.whoami()


def test_an_error_page_that_stays(server: FakeServer, catalogue: RucioCatalogue) -> None:
    server.default = Answer(PAGE, "text/html", 404)
    with pytest.raises(CatalogueRefused, match="404") as told:
        catalogue.whoami()
    assert "proxy" in str(told.value.hint)


def test_whoami_without_an_account(server: FakeServer, catalogue: RucioCatalogue) -> None:
    for value in ({"account": None}, {"account": ""}, {"status": "ACTIVE"}):
        server.default = Answer.of(value)
        with pytest.raises(CatalogueUnavailable, match="account"):
            catalogue.whoami()


def _file(state: str) -> dict[str, object]:
    return {
        "scope": "scope",
        "name": "file",
        "rses": {"RSE": ["file:///pool/file"]},
        "states": {"RSE": state},
    }


def test_a_replica_in_an_unknown_state(server: FakeServer, catalogue: RucioCatalogue) -> None:
    row = {
        "scope": "scope",
        "name": "file",
        "did_type": "FILE",
        "bytes": 3,
        "adler32": "1",
        "md5": None,
    }
    server.answers["/dids/bulkmeta"] = Answer.stream(row)
    server.answers["/replicas/list"] = Answer.stream(_file("COPYING"))
    replica = catalogue.look_up([FILE])[FILE].replicas["RSE"]
    assert (replica.state, replica.pfn) == (ReplicaState.COPYING, "file:///pool/file")
    server.answers["/replicas/list"] = Answer.stream(_file("DREAMING"))
    with pytest.raises(CatalogueUnavailable, match=r"makes no sense .*DREAMING"):
        catalogue.look_up([FILE])


@pytest.mark.parametrize("wrong", [{"adler32": "no checksum"}, {"bytes": "3"}, {"bytes": 1.5}])
def test_a_measure_that_is_none(
    server: FakeServer, catalogue: RucioCatalogue, wrong: dict[str, object]
) -> None:
    row = {"scope": "scope", "name": "file", "did_type": "FILE", "bytes": 3, "adler32": "1"}
    server.answers["/dids/bulkmeta"] = Answer.stream({**row, **wrong})
    with pytest.raises(CatalogueUnavailable, match="makes no sense"):
        catalogue.look_up([FILE])


RULE = {
    "id": "rule",
    "scope": "scope",
    "name": "dataset",
    "rse_expression": "RSE",
    "copies": 1,
    "state": "OK",
    "locks_ok_cnt": 1,
    "locks_replicating_cnt": 0,
    "locks_stuck_cnt": 0,
    "expires_at": None,
    "error": None,
}


@pytest.mark.parametrize(
    "wrong", [{"state": "DREAMING"}, {"copies": "one"}, {"expires_at": "soon"}]
)
def test_a_rule_that_makes_no_sense(
    server: FakeServer, catalogue: RucioCatalogue, wrong: dict[str, object]
) -> None:
    server.default = Answer.stream(RULE)
    assert [view.rule_id for view in catalogue.rules([DATASET], "magic")] == ["rule"]
    server.default = Answer.stream({**RULE, **wrong})
    with pytest.raises(CatalogueUnavailable, match="makes no sense"):
        catalogue.rules([DATASET], "magic")


def test_a_lock_in_an_unknown_state(server: FakeServer, catalogue: RucioCatalogue) -> None:
    server.default = Answer.stream({"scope": "s", "name": "n", "rse": "RSE", "state": "DREAMING"})
    with pytest.raises(CatalogueUnavailable, match=r"makes no sense .*DREAMING"):
        catalogue.locks("rule")


def test_a_rule_that_vanishes_has_no_stuck_files(
    server: FakeServer, catalogue: RucioCatalogue
) -> None:
    server.default = Answer.error("RuleNotFound", 404)
    assert list(catalogue.stuck_files("rule")) == []
    assert list(catalogue.locks("rule")) == []


@pytest.mark.parametrize("transfers", [None, []])
def test_a_stuck_rule_without_transfers(
    server: FakeServer, catalogue: RucioCatalogue, transfers: object
) -> None:
    server.default = Answer.of({"rule_error": "no sources", "transfers": transfers})
    assert list(catalogue.stuck_files("rule")) == []


def test_a_stuck_file_that_was_never_tried(server: FakeServer, catalogue: RucioCatalogue) -> None:
    row = {"scope": "scope", "name": "file", "rse": "RSE", "attempts": None, "last_error": None}
    server.default = Answer.of({"rule_error": None, "transfers": [row]})
    (stuck,) = catalogue.stuck_files("rule")
    assert (stuck.did, stuck.reason, stuck.attempts) == (FILE, "no reason given", 0)


def test_when_an_rse_was_told_of_its_room(server: FakeServer, catalogue: RucioCatalogue) -> None:
    row = {"source": "storage", "used": 1, "free": 2, "total": 3}
    told = {**row, "updated_at": "Sat, 28 Nov 2026 08:00:00 UTC"}
    server.answers["/rses/RSE"] = Answer.of({"availability_write": True})
    server.answers["/rses/RSE/usage"] = Answer.stream(told)
    told_at = datetime(2026, 11, 28, 8, tzinfo=UTC)
    assert catalogue.space("RSE") == Space("RSE", writable=True, free=2, total=3, told_at=told_at)
    server.answers["/rses/RSE/usage"] = Answer.stream({**row, "updated_at": "yesterday"})
    with pytest.raises(CatalogueUnavailable, match="makes no sense"):
        catalogue.space("RSE")
