"""Facts in words, for people who read what happened."""

from __future__ import annotations

from collections.abc import Mapping

from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.rule import RuleState, RuleView
from rucio_inject.domain.usage import Usage
from rucio_inject.words.numbers import duration, plural, reason, size


def subject(fact: f.Fact) -> str:  # noqa: PLR0911 -- a flat table
    """What a fact is about: a DID, a rule, an RSE; empty if it is about the campaign."""
    match fact:
        case f.FileFact() | f.CollectionAsked() | f.CollectionEnding() | f.CollectionGone():
            return str(fact.did)
        case f.CollectionClosing():
            return str(fact.did)
        case f.RuleAsked() | f.RuleRefused():
            return str(fact.dataset)
        case f.RuleMade() | f.RuleEnding() | f.RuleKept() | f.RuleGone():
            return f"rule {fact.rule_id}"
        case f.RuleChanged():
            return f"rule {fact.view.rule_id}"
        case f.RepairAsked() | f.RepairMade():
            return fact.subject
        case f.AttributeAsked() | f.RSECounted():
            return fact.rse
        case _:
            return ""


# What is told of every fact of a kind.
_ALWAYS: Mapping[type[f.Fact], str] = {
    f.FileOrganised: "in its dataset, which has its rules",
    f.FileDescribed: "its metadata are in the catalogue",
    f.FileAnnounced: "what came with it about its content has changed",
    f.FileExpiring: "every rule on it was given its end",
    f.FileGone: "gone from every RSE",
    f.FileRetried: "goes on from where it failed",
    f.SourceFreeing: "source to be removed",
    f.SourceFreed: "source removed",
    f.SourceSentAgain: "source sent again: the same bytes",
    f.CollectionAsked: "to be made in the catalogue",
    f.CollectionClosing: "complete: it is closed",
    f.CollectionEnding: "to be given its end",
    f.CollectionGone: "gone from the catalogue",
    f.RuleGone: "gone",
}


def told(fact: f.Fact) -> str:
    """A fact in a short line, without the name of the file or rule that it is about."""
    if (always := _ALWAYS.get(type(fact))) is not None:
        return always
    match fact:
        case f.FileFact():
            return _of_file(fact)
        case f.RuleAsked() | f.RuleRefused() | f.RuleMade():
            return _of_request(fact)
        case f.RuleChanged() | f.RuleEnding() | f.RuleKept():
            return _of_rule(fact)
        case _:
            return _of_campaign(fact)


def _of_file(fact: f.FileFact) -> str:  # noqa: C901, PLR0911, PLR0912 -- a flat table
    match fact:
        case f.FileFound():
            return f"found at {fact.path}"
        case f.FileMeasured():
            return f"source {_measure(fact.measure)}"
        case f.UploadBegun():
            return f"upload to {fact.rse} begun"
        case f.UploadLeftNothing():
            return f"upload to {fact.rse} failed; nothing lies there under its name"
        case f.FileUploaded():
            there = "lies at" if fact.in_place else "uploaded to"
            return f"{there} {fact.rse}: {fact.pfn}"
        case f.FileRegistered():
            found = "; it was there before" if fact.adopted else ""
            return f"registered with its replica at {fact.rse}{found}"
        case f.ReplicaReady():
            return f"replica at {fact.rse}"
        case f.FileReplicated():
            return f"everywhere it should be: {', '.join(fact.rses)}"
        case f.FileWaits():
            return f"waits for {fact.rse}: {reason(fact.reason)}"
        case f.ReplicaRead():
            return f"read back from {fact.rse}: {size(fact.measure.size)}, md5 {fact.measure.md5}"
        case f.ReplicaTold():
            return f"{fact.rse} tells: {size(fact.size)}, adler32 {fact.adler32}"
        case f.FileVerified() if fact.sampled:
            return "verified: every storage tells the same checksum; a sample of its run was read"
        case f.FileVerified():
            return "verified: the same bytes came back from everywhere"
        case f.FileSetBack():
            return f"set back to {fact.state}: {fact.reason}"
        case f.ReplicaGone():
            return f"replica at {fact.rse} gone, from catalogue and storage"
        case f.SourceKept():
            return f"source kept after all: {fact.reason}"
        case f.FileFailed():
            return f"set aside ({fact.code}): {fact.reason}"
        case _:
            raise AssertionError(type(fact))


def _of_request(fact: f.RuleAsked | f.RuleRefused | f.RuleMade) -> str:
    what = f"{plural(fact.request.copies, 'replica')} at {fact.request.rse_expression}"
    match fact:
        case f.RuleAsked():
            return f"rule to be asked for: {what}"
        case f.RuleRefused():
            return f"rule not made: {what}: {fact.reason}"
        case f.RuleMade():
            return f"{'found' if fact.adopted else 'made'}: {what}"


def _of_rule(fact: f.RuleChanged | f.RuleEnding | f.RuleKept) -> str:
    match fact:
        case f.RuleChanged():
            return _rule_now(fact.view)
        case f.RuleEnding():
            return f"to end in {duration(fact.lifetime)}, with its replicas"
        case f.RuleKept():
            return f"its end was taken back: {fact.reason}"


def _of_campaign(fact: f.Fact) -> str:  # noqa: C901, PLR0911, PLR0912 -- a flat table
    match fact:
        case f.CycleBegun():
            return f"cycle {fact.cycle} begun"
        case f.CycleEnded():
            return f"cycle {fact.cycle} has come to its end"
        case f.RunBegun():
            return f"run begun by {fact.process}"
        case f.RunEnded():
            return f"run ended after {duration(fact.seconds)}, exit code {fact.code}: {fact.words}"
        case f.UploadRSEChosen():
            return f"new files are uploaded to {fact.rse}"
        case f.DrainOrdered():
            why = f" ({fact.reason})" if fact.reason else ""
            return f"{'drained' if fact.on else 'no longer drained'}, by {fact.by}{why}"
        case f.ScopeMade():
            return f"scope {fact.scope} made for account {fact.account}"
        case f.AttributeAsked():
            before = "unset" if fact.before is None else fact.before
            return f"attribute {fact.key} to be set to {fact.value}; it was {before}"
        case f.NameSkipped():
            return f"{fact.path} skipped ({fact.code}): {fact.reason}"
        case f.AnalysisMade():
            return f"{plural(fact.files, 'file')} analysed: {fact.headline}"
        case f.RepairAsked():
            return f"{fact.finding}: to be repaired ({fact.repair}): {fact.reason}"
        case f.RepairMade():
            made = "repaired" if fact.error is None else f"not repaired: {fact.error}"
            return f"{fact.finding}: {made} ({fact.repair})"
        case f.CallRetried():
            return f"{reason(fact.reason)}: tried again after {duration(fact.pause)}"
        case f.CredentialEnds():
            return f"what we sign in with ends at {fact.ends:%Y-%m-%dT%H:%M:%SZ}; {fact.reason}"
        case f.LookEnded():
            return f"a look ended with exit code {fact.code}: {reason(fact.words)}"
        case f.RSECounted():
            catalogue, storage = _witness(fact.catalogue), _witness(fact.storage)
            return f"counted: {catalogue} in the catalogue, {storage} on the storage"
        case _:
            raise AssertionError(type(fact))


def _measure(measure: Measure) -> str:
    if measure.md5 is None:
        return f"asked for at its storage: {size(measure.size)}, adler32 {measure.adler32}"
    return f"read: {size(measure.size)}, md5 {measure.md5}"


def _rule_now(view: RuleView) -> str:
    locks = view.locks_ok + view.locks_replicating + view.locks_stuck
    if not locks and view.state in {RuleState.OK, RuleState.INJECT}:
        # Rucio calls a rule OK that was made while its dataset was empty.
        return f"{view.state}, without a lock: Rucio has yet to look at the files"
    why = f" ({reason(view.error)})" if view.error else ""
    child = f"; parent of rule {view.child_rule_id}" if view.child_rule_id else ""
    return (
        f"{view.state}{why}; locks: {view.locks_ok} OK, "
        f"{view.locks_replicating} replicating, {view.locks_stuck} stuck{child}"
    )


def _witness(usage: Usage | None) -> str:
    return "unknown" if usage is None else plural(usage.files, "file")
