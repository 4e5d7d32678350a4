"""Replication rules in Rucio, and what they hold: the part of the catalogue that promises."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rucio.common.exception import (
    DataIdentifierNotFound,
    DuplicateRule,
    InvalidRSEExpression,
    RuleNotFound,
)

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import CatalogueUnavailable, NotFound
from rucio_inject.domain.rule import Holder, Lock, RuleRequest, RuleView, StuckFile
from rucio_inject.rucio import answers
from rucio_inject.rucio.errors import catalogue_errors
from rucio_inject.rucio.session import Session

# Up to here one rule listing a dataset is cheaper than listing all rules of the scope.
DATASETS_LISTED_ALONE = 20


def plain(did: DID) -> dict[str, str]:
    """A DID as Rucio's client takes it."""
    return {"scope": did.scope, "name": did.name}


class RucioRules:
    """The rules of `ports.Catalogue`, with Rucio's public client."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def resolve(self, rse_expression: str) -> tuple[str, ...]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot resolve RSE expression {rse_expression!r}"):
            try:
                found = answers.rows(client.list_rses(rse_expression))
                rses = sorted(answers.text(row, "rse") for row in found)
            except InvalidRSEExpression as error:
                # Rucio says "invalid" for an expression that matches nothing, too.
                if "empty set" not in str(error).lower():
                    raise
                rses = []
        if not rses:
            raise NotFound(
                f"RSE expression {rse_expression!r} matches no RSE",
                hint="`rucio rse list` shows the RSEs there are",
            )
        return tuple(rses)

    def add_rules(
        self, dids: Sequence[DID], request: RuleRequest, account: str
    ) -> Mapping[DID, str]:
        """See the port."""
        return self._made(dids, request, account)

    def hold(self, files: Sequence[DID], rse: str, account: str) -> Mapping[DID, str]:
        """See the port."""
        return self._made(files, RuleRequest(rse), account, source=rse)

    def _made(
        self, dids: Sequence[DID], request: RuleRequest, account: str, source: str | None = None
    ) -> Mapping[DID, str]:
        """`source`: where alone Rucio may copy from; None: wherever a replica is."""
        client = self._session.client()
        what = f"{dids[0]}" if len(dids) == 1 else f"{dids[0]} and {len(dids) - 1} more"
        with catalogue_errors(f"cannot make a rule for {what} to {request.rse_expression}"):
            try:
                made = client.add_replication_rule(
                    dids=[plain(did) for did in dids],
                    copies=request.copies,
                    rse_expression=request.rse_expression,
                    account=account,
                    activity=request.activity,
                    source_replica_expression=source,
                    # What brings nothing needs nobody who may write there.
                    ignore_availability=source is not None,
                )
            except DuplicateRule:
                there = self._adopt(dids, request, account)
            else:
                return answers.made_rules(made, dids)
        if not there:
            raise CatalogueUnavailable(
                f"Rucio says that there is a rule for {what} to {request.rse_expression} already, "
                "and shows none"
            )
        left = [did for did in dids if did not in there]
        return {**there, **(self._made(left, request, account, source) if left else {})}

    def _adopt(self, dids: Sequence[DID], request: RuleRequest, account: str) -> Mapping[DID, str]:
        """The same rules that are there already, which no longer end by themselves."""
        there: dict[DID, str] = {}
        for view in self.rules(dids, account):
            if (view.rse_expression, view.copies) != (request.rse_expression, request.copies):
                continue
            if view.expires_at is not None:
                # It was about to end; the files in the dataset now still need it.
                client = self._session.client()
                with catalogue_errors(f"cannot prolong rule {view.rule_id}"):
                    client.update_replication_rule(view.rule_id, {"lifetime": None})
            there[view.did] = view.rule_id
        return there

    def rules(self, dids: Sequence[DID], account: str) -> Sequence[RuleView]:
        """See the port."""
        client = self._session.client()
        wanted = frozenset(dids)
        filters: list[dict[str, str]]
        if len(wanted) <= DATASETS_LISTED_ALONE:
            filters = [{"account": account, **plain(did)} for did in wanted]
        else:
            scopes = sorted({did.scope for did in wanted})
            filters = [{"account": account, "scope": scope} for scope in scopes]
        with catalogue_errors("cannot list replication rules"):
            rows = [
                row
                for chosen in filters
                for row in answers.rows(client.list_replication_rules(chosen))
            ]
            return [answers.rule_view(row) for row in rows if answers.did(row) in wanted]

    def locks(self, rule_id: str) -> Sequence[Lock]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot list the locks of rule {rule_id}"):
            try:
                rows = answers.rows(client.list_replica_locks(rule_id))
            except RuleNotFound:
                return []
            return [answers.lock(row) for row in rows]

    def stuck_files(self, rule_id: str) -> Sequence[StuckFile]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot examine rule {rule_id}"):
            try:
                return answers.stuck_files(client.examine_replication_rule(rule_id))
            except RuleNotFound:
                # It ended since it was listed.
                return []

    def holders(self, did: DID, rse: str, *, but: Collection[str] = ()) -> Sequence[Holder]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot list the rules that hold {did}"):
            try:
                rows = answers.rows(client.list_associated_rules_for_file(did.scope, did.name))
            except DataIdentifierNotFound:
                return []
            found = sorted(map(answers.holder, rows), key=lambda holder: holder.rule_id)
        # A rule may hold a file on one RSE of several, and have locks on a million other files.
        asked = (holder for holder in found if holder.rule_id not in but)
        return [holder for holder in asked if self._is_held(did, rse, holder)]

    def _is_held(self, did: DID, rse: str, holder: Holder) -> bool:
        try:
            among = self.resolve(holder.rse_expression)
        except NotFound:
            # It stood for other RSEs when the rule was made.
            among = ()
        if among == (rse,):
            return True
        return any((lock.did, lock.rse) == (did, rse) for lock in self.locks(holder.rule_id))

    def end_rule(self, rule_id: str, lifetime: int, child: str | None = None) -> None:
        """See the port."""
        options: dict[str, int | bool | str] = {"lifetime": lifetime, "purge_replicas": True}
        if child is not None:
            options["child_rule_id"] = child
        client = self._session.client()
        with catalogue_errors(f"cannot give rule {rule_id} its end"):
            client.update_replication_rule(rule_id, options)

    def keep_rule(self, rule_id: str) -> None:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot take the end of rule {rule_id} back"):
            options = {"lifetime": None, "purge_replicas": False}
            client.update_replication_rule(rule_id, options)
            if client.get_replication_rule(rule_id).get("child_rule_id"):
                client.update_replication_rule(rule_id, {"child_rule_id": None})
