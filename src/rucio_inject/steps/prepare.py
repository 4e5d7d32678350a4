"""Before anything is made: who we are, what the campaign's words mean on this lake, and whether
the lake will take what we bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    CatalogueRefused,
    NotFound,
    NotPermitted,
    SignInFailed,
    UsageError,
)
from rucio_inject.domain.facts import AttributeAsked, ScopeMade
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.ports import AttributeValue, Catalogue, Identity
from rucio_inject.steps.journal import Journal

Attributes = Mapping[str, Mapping[str, AttributeValue]]


@dataclass(frozen=True, slots=True)
class Lake:
    """What a campaign's words mean on this lake: RSEs by RSE expression."""

    identity: Identity
    upload_rse: str
    rses: Mapping[str, tuple[str, ...]]
    scope_made: bool = False

    def all_rses(self) -> tuple[str, ...]:
        """Every RSE that may hold a file of the campaign, the upload RSE first."""
        others = {rse for rses in self.rses.values() for rse in rses} - {self.upload_rse}
        return (self.upload_rse, *sorted(others))


def survey(
    catalogue: Catalogue,
    *,
    account: str | None,
    upload_rse: str,
    rules: Sequence[RuleRequest],
    attributes: Attributes,
) -> Lake:
    """Sign in and resolve every RSE and expression; changes nothing.

    SignInFailed if Rucio takes us for another account than the one asked for (None: any will do);
    UsageError if the lake has no such RSE, or too few for a rule's copies. `attributes` are those
    that are to be set.
    """
    identity = catalogue.whoami()
    if account and identity.account != account:
        # A rucio.cfg may name one token file for all accounts.
        raise SignInFailed(
            f"Rucio takes us for account {identity.account}, not for {account}",
            hint="a token of that account is cached: remove the file that auth_token_file_path in "
            "rucio.cfg names, or use another rucio.cfg (an embedded lake has one an account: "
            "rucio-inject lake env --account NAME)",
        )
    if _resolved(catalogue, upload_rse, "upload.rse") != (upload_rse,):
        raise UsageError(f"upload.rse: {upload_rse!r} is no single RSE")
    rses = {}
    for number, rule in enumerate(rules):
        where = f"rules.{number}.rse_expression"
        found = rses[rule.rse_expression] = _resolved(catalogue, rule.rse_expression, where)
        if len(found) < rule.copies:
            raise UsageError(
                f"{where}: {rule.copies} copies asked for, but {rule.rse_expression!r} is only "
                f"{', '.join(found)}",
                hint="ask for fewer copies, or widen the expression",
            )
    for rse in attributes:
        if _resolved(catalogue, rse, f"rse_attributes.{rse}") != (rse,):
            raise UsageError(f"rse_attributes: {rse!r} is no single RSE")
    return Lake(identity, upload_rse, rses)


def _resolved(catalogue: Catalogue, expression: str, where: str) -> tuple[str, ...]:
    try:
        return catalogue.resolve(expression)
    except (NotFound, CatalogueRefused) as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from error


def refuse_characters(catalogue: Catalogue, scope: str, characters: str) -> None:
    """UsageError if the site's schema does not take these characters in DID names: it refuses a
    question about many names for one of them."""
    if not characters or _takes(catalogue, scope, characters):
        return
    wrong = [char for char in characters if not _takes(catalogue, scope, char)]
    raise UsageError(
        f"naming.characters: the site's schema takes no {' and no '.join(wrong)} in DID names",
        hint="leave them out (without + in it, + becomes _), or have the site change its schema; "
        "an embedded lake takes those that its content file names",
    )


def _takes(catalogue: Catalogue, scope: str, characters: str) -> bool:
    try:
        catalogue.missing([DID(scope, f"A{characters}A")])
    except CatalogueRefused:
        return False
    return True


def prepare_scope(journal: Journal, catalogue: Catalogue, scope: str, account: str) -> bool:
    """Make the scope if it is missing; whether it was made."""
    made = catalogue.ensure_scope(scope, account)
    if made:
        journal.tell([ScopeMade(at=journal.clock.now(), scope=scope, account=account)])
    return made


def set_attributes(journal: Journal, catalogue: Catalogue, attributes: Attributes) -> None:
    """Set RSE attributes as asked, and read them back. NotPermitted if the lake has other values
    afterwards."""
    for rse, wanted in attributes.items():
        have = catalogue.rse_attributes(rse)
        for key, value in wanted.items():
            before, now = have.get(key), journal.clock.now()
            if not is_attribute(before, value):
                asked = AttributeAsked(at=now, rse=rse, key=key, before=before, value=value)
                journal.tell([asked])
                catalogue.set_rse_attribute(rse, key, value)
        have = catalogue.rse_attributes(rse)
        wrong = {
            k: have.get(k) for k, value in wanted.items() if not is_attribute(have.get(k), value)
        }
        if wrong:
            raise NotPermitted(
                f"RSE {rse} has {wrong} after these attributes were set to "
                f"{ {key: wanted[key] for key in wrong} }",
                hint="does the site's policy allow it? `rucio rse attribute list` shows them",
            )


def is_attribute(have: AttributeValue | None, wanted: AttributeValue) -> bool:
    """Whether an attribute has a value. Rucio keeps booleans, and all else as text."""
    if isinstance(have, bool) or isinstance(wanted, bool) or have is None:
        return have is wanted
    return str(have) == str(wanted)
