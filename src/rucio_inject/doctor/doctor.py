"""The examination: each thing that a campaign needs, one after the other; one that is bad stops
none that can be tried without it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from rucio_inject.doctor.findings import Finding, Verdict, bad
from rucio_inject.doctor.probe import Probe
from rucio_inject.domain.errors import InjectError, NotPermitted, SignInFailed
from rucio_inject.ports import Catalogue, Clock, Health
from rucio_inject.words.numbers import size

# Proofs of identity are good for some minutes around their time.
SKEWED, TOO_SKEWED = timedelta(seconds=10), timedelta(minutes=2)
SOON = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a campaign needs of a lake: the RSE that files are brought to, and RSE expressions with
    their copies. `in_place`: files are at that RSE already, and nothing is written to it."""

    scope: str
    upload_rse: str
    expressions: Mapping[str, int]
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class Local:
    """Something on this machine: `look` says how it is, or raises why it is bad."""

    check: str
    subject: str
    look: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Doctor:
    """Examines the ways to a Rucio, and what a campaign needs if there is one."""

    health: Health
    catalogue: Catalogue
    clock: Clock
    account: str | None = None
    needs: Needs | None = None
    probe: Callable[[str], Probe] | None = None
    """Makes what tries storages out for an account."""

    def run(self) -> Iterator[Finding]:
        """Findings, as they come."""
        yield from self._server()
        yield self._credentials()
        account = None
        try:
            account = self._whoami()
        except InjectError as error:
            yield bad("sign-in", self.account or "", error)
        else:
            yield Finding("sign-in", account, Verdict.GOOD, f"Rucio takes us for {account}")
            yield self._session()
        if self.needs is None:
            return
        if account is None:
            for check in ("scope", "rses", "quota", "storage", "transfers"):
                yield Finding(check, "", Verdict.SKIPPED, "not asked, as we are not signed in")
            return
        yield self._scope(self.needs, account)
        rses = yield from self._rses(self.needs)
        for rse in rses:
            yield from self._rse(rse, account, self.needs)

    def _whoami(self) -> str:
        account = self.catalogue.whoami().account
        if self.account and account != self.account:
            raise SignInFailed(
                f"Rucio takes us for {account}, not for {self.account}",
                hint="a token of that account is cached: remove the file that auth_token_file_path "
                "in rucio.cfg names",
            )
        return account

    def _session(self) -> Finding:
        try:
            life = self.health.session_life()
        except InjectError as error:
            return bad("session", "", error)
        if life.ends is None:
            told = "the server does not tell how long it takes our token"
            return Finding("session", life.strategy, Verdict.SKIPPED, told)
        left = life.ends - self.clock.now()
        told = f"Rucio takes our token for {_minutes(left)} more"
        if life.renewed:
            told = f"{told}, and its client gets the next one by itself"
            return Finding("session", life.strategy, Verdict.GOOD, told)
        if left > SOON:
            return Finding("session", life.strategy, Verdict.GOOD, told)
        hint = "a long run needs another: sign in anew before it, or have the token refreshed"
        return Finding("session", life.strategy, Verdict.WARNING, told, hint)

    def _server(self) -> Iterator[Finding]:
        try:
            server = self.health.server()
        except InjectError as error:
            yield bad("server", "", error)
            return
        same = server.version.split(".")[0] == server.ours.split(".")[0]
        yield Finding(
            "server",
            "",
            Verdict.GOOD if same else Verdict.WARNING,
            f"Rucio {server.version}; the client here is {server.ours}",
            None if same else "clients and servers of one major version fit for certain",
        )
        if server.clock is None:
            yield Finding("clock", "", Verdict.SKIPPED, "the server does not tell its time")
            return
        # Its time comes in whole seconds.
        skew = abs(server.clock + timedelta(seconds=0.5) - server.at)
        verdict = Verdict.GOOD if skew <= SKEWED else Verdict.WARNING
        verdict = Verdict.BAD if skew > TOO_SKEWED else verdict
        yield Finding(
            "clock",
            "",
            verdict,
            f"this machine's clock and the server's are {skew.total_seconds():.0f} s apart",
            None
            if verdict is Verdict.GOOD
            else "let chrony or ntpd set both: tokens and proxies are refused outside their time",
        )

    def _credentials(self) -> Finding:
        try:
            ends = self.health.credentials_end()
        except InjectError as error:
            return bad("credentials", "", error)
        if ends is None:
            told = "no proxy, certificate or token for storages, or none that ends"
            return Finding("credentials", "", Verdict.GOOD, told)
        left = ends - self.clock.now()
        if left <= timedelta(0):
            expired = SignInFailed(
                f"what identifies us to storages expired at {ends:%Y-%m-%dT%H:%M:%SZ}",
                hint="make a new one, or name a command that does: sign_in.renew in the campaign",
            )
            return bad("credentials", "", expired)
        told = f"the proxy, certificate or token for storages is good for {_minutes(left)} more"
        if left > SOON:
            return Finding("credentials", "", Verdict.GOOD, told)
        hint = "a long run needs a new one: name a command that makes it, sign_in.renew"
        return Finding("credentials", "", Verdict.WARNING, told, hint)

    def _scope(self, needs: Needs, account: str) -> Finding:
        try:
            owner = self.catalogue.scope_owner(needs.scope)
        except InjectError as error:
            return bad("scope", needs.scope, error)
        if owner is None:
            told = "it is not there: the first run makes it, if the account may"
            return Finding("scope", needs.scope, Verdict.WARNING, told)
        if owner != account:
            refused = NotPermitted(
                f"scope {needs.scope} is {owner}'s, not {account}'s",
                hint="use a scope of the account's own, or sign in as its owner",
            )
            return bad("scope", needs.scope, refused)
        return Finding("scope", needs.scope, Verdict.GOOD, f"it is {account}'s")

    def _rses(self, needs: Needs) -> Generator[Finding, None, list[str]]:
        """The RSEs that the campaign's words stand for, the upload RSE first."""
        rses: dict[str, None] = {}
        for expression, copies in {needs.upload_rse: 1, **needs.expressions}.items():
            try:
                found = self.catalogue.resolve(expression)
            except InjectError as error:
                yield bad("rses", expression, error)
                continue
            rses.update(dict.fromkeys(found))
            enough = len(found) >= copies
            yield Finding(
                "rses",
                expression,
                Verdict.GOOD if enough else Verdict.BAD,
                f"{', '.join(found)}" + ("" if enough else f": too few for {copies} copies"),
                None if enough else "ask for fewer copies, or widen the expression",
            )
        return list(rses)

    def _rse(self, rse: str, account: str, needs: Needs) -> Iterator[Finding]:
        try:
            quota = self.catalogue.quota(account, rse)
            services = str(self.catalogue.rse_attributes(rse).get("fts") or "")
        except InjectError as error:
            yield bad("quota", rse, error)
            return
        if quota.left is None:
            yield Finding("quota", rse, Verdict.GOOD, "no limit")
        elif quota.left > 0:
            yield Finding("quota", rse, Verdict.GOOD, f"{size(quota.left)} left")
        else:
            hint = f"rucio account limit set {account} --rse {rse} --bytes N, by an administrator"
            told = f"nothing is left of {size(quota.limit or 0)}"
            yield Finding("quota", rse, Verdict.BAD, told, hint)
        for url in filter(None, (part.strip() for part in services.split(","))):
            yield self._transfers(rse, url)
        if rse == needs.upload_rse and needs.in_place:
            told = "files are there already: nothing is written to it"
            yield Finding("storage", rse, Verdict.SKIPPED, told)
        elif self.probe is not None:
            yield from self.probe(account).run(rse)

    def _transfers(self, rse: str, url: str) -> Finding:
        try:
            self.health.reach(url)
        except InjectError as error:
            return bad("transfers", rse, error)
        return Finding("transfers", rse, Verdict.GOOD, f"{url} answers")


def _minutes(left: timedelta) -> str:
    return f"{int(left.total_seconds() // 60)} minutes"


def looked(local: Local) -> Finding:
    """How something on this machine is."""
    try:
        told = local.look()
    except InjectError as error:
        return bad(local.check, local.subject, error)
    return Finding(local.check, local.subject, Verdict.GOOD, told)
