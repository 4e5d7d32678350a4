"""Every fact as a document in OpenSearch or Elasticsearch."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from rucio_inject.domain.facts import Fact
from rucio_inject.posting import NotDelivered, post

BULK = 1000
MOST_KEPT = 50_000
"""Documents that wait for a server that is away; older ones than these are given up."""
# 409: it has the document already, as the answer to an earlier try was lost.
_TAKEN = frozenset({200, 201, 409})


class Refused(NotDelivered):
    """The server took what it could, and will never take the rest."""


class OpenSearchOutlet:
    """Sends facts in bulk. What the server has taken once it takes no second time: a document's id
    follows from what it says."""

    def __init__(
        self,
        url: str,
        index: str,
        campaign: str,
        as_json: Callable[[Fact], tuple[str, str]],
        sign_in: Callable[[], tuple[str, str]] | None = None,
    ) -> None:
        """`as_json` gives a fact's kind and content; `sign_in` user and password, each time."""
        self._url = f"{url.rstrip('/')}/_bulk"
        self._index = index
        self._campaign = campaign
        self._as_json = as_json
        self._sign_in = sign_in
        self._host = socket.gethostname()
        self._waiting: deque[Fact] = deque(maxlen=MOST_KEPT)
        self._lock = threading.Lock()

    def record(self, facts: Sequence[Fact]) -> None:
        """See `ports.FactSink`."""
        with self._lock:
            self._waiting.extend(facts)

    def pump(self, *, last: bool = False) -> None:  # noqa: ARG002 -- an outlet's
        """Send what waits. NotDelivered if it is not taken: it waits on."""
        while True:
            with self._lock:
                facts = list(islice(self._waiting, BULK))
            if not facts:
                return
            try:
                self._send(facts)
            except Refused:
                self._forget(facts)
                raise
            self._forget(facts)

    def _forget(self, facts: list[Fact]) -> None:
        with self._lock:
            # The oldest may have been given up meanwhile.
            while facts and self._waiting and self._waiting[0] is not facts[0]:
                facts.pop(0)
            for _ in facts:
                self._waiting.popleft()

    def _send(self, facts: Sequence[Fact]) -> None:
        headers = {"Content-Type": "application/x-ndjson"}
        if self._sign_in is not None:
            token = base64.b64encode(":".join(self._sign_in()).encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        body = "".join(self._document(fact) for fact in facts).encode()
        answer = post(self._url, body, headers, who="OpenSearch")
        try:
            told = json.loads(answer)
            items = [item["create"] for item in told["items"]] if told["errors"] else []
            refused = [item["error"] for item in items if item["status"] not in _TAKEN]
        except (ValueError, KeyError, TypeError):
            raise NotDelivered("OpenSearch gives an answer that is none of OpenSearch's") from None
        if refused:
            # They would be refused for ever: the others go on.
            reason = str(refused[0])[:200]
            raise Refused(f"OpenSearch refuses {len(refused)} documents, such as: {reason}")

    def _document(self, fact: Fact) -> str:
        kind, text = self._as_json(fact)
        number = hashlib.sha256(f"{self._campaign}\0{kind}\0{text}".encode()).hexdigest()[:32]
        document = {
            **json.loads(text),
            "@timestamp": fact.at.isoformat(),
            "campaign": self._campaign,
            "kind": kind,
            "host": self._host,
        }
        action = {"create": {"_index": self._index, "_id": number}}
        return f"{json.dumps(action)}\n{json.dumps(document)}\n"
