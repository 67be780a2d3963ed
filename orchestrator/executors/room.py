"""Where evaluators can run at present: the cluster's nodes, less those that are left out.

A node is left out for a moment after it was lost under an evaluator that was meant for it, because
the cluster's own list of nodes is older than the loss; and for good if it runs other code than the
driver, or cannot use the GPU that it declares.
"""

import time
from collections import Counter
from collections.abc import Collection

import ray
import ray.exceptions

from orchestrator.cluster.connection import Cluster
from orchestrator.cluster.placement import Request, requests
from orchestrator.errors import ClusterError, ResourcesError
from orchestrator.sweep import Resources
from workers.contract import failures
from workers.host.actor import Hello

SURVEY_SECONDS = 2.0
"""How often the cluster is asked for its nodes."""
ROOMLESS_SECONDS = 600.0
"""How long a cluster may be without any node for the evaluations before the sweep gives up."""
AVOID_SECONDS = 10.0
"""How long a node is avoided that was lost, in case the cluster still lists it."""
PLACED_SECONDS = 5.0
"""How long Ray takes at most to find a place for an evaluator where there is one."""
UNUSABLE_DEVICES = 3
"""Evaluators that cannot use their GPU, after which a node is left out."""


class Room:
    """What the cluster has room for. Raises `ResourcesError` if that is nothing, ever."""

    def __init__(
        self, cluster: Cluster, resources: Resources, *, timed: bool, silent_seconds: float
    ) -> None:
        self._cluster, self._resources, self._timed = cluster, resources, timed
        self._silent_seconds = silent_seconds
        self._avoided: dict[str, float] = {}
        self._left_out: dict[str, str] = {}
        self._unusable: Counter[str] = Counter()
        self._alive: set[str] = set()
        self.requests = self._requests()
        self._surveyed_at = self._had_room_at = time.monotonic()
        self._identity = cluster.identity()
        """None: its head was too slow to answer; the first answer tells."""
        self._silent_since: float | None = None

    @property
    def is_silent(self) -> bool:
        """Whether the head does not answer, so that Ray must not be asked for anything."""
        return self._silent_since is not None

    @property
    def left_out(self) -> Collection[str]:
        """Nodes on which nothing is started any more."""
        return self._left_out.keys()

    def is_due(self) -> bool:
        """Tell whether it is time for `survey`."""
        return time.monotonic() - self._surveyed_at > SURVEY_SECONDS

    def listen(self) -> str | None:
        """Ask the head for a sign of life; return what there is to say if that has changed.

        Raises `ClusterError` if it has been silent for too long, or is another one.
        """
        now, address, identity = time.monotonic(), self._cluster.address, self._head()
        if identity is not None and identity == self._identity:
            news = f"the cluster's head answers again ({address})" if self.is_silent else None
            self._silent_since = None
            return news
        self._surveyed_at = now
        was_silent, self._silent_since = self.is_silent, self._silent_since or now
        if identity is not None:
            raise ClusterError(
                f"the cluster's head ({address}) was started again and knows nothing of this "
                "launch: what is done is in the store; launch again"
            )
        if now - self._silent_since > self._silent_seconds:
            raise ClusterError(
                f"the cluster's head ({address}) has not answered for {self._silent_seconds:.0f} "
                "s: what is done is in the store; start the cluster again and launch again"
            )
        if was_silent:
            return None
        return f"the cluster's head does not answer ({address}); what runs there goes on"

    def survey(self) -> None:
        """Look what there is. Raises `ClusterError` if there has been nothing for too long."""
        now = self._surveyed_at = time.monotonic()
        self._avoided = {node: until for node, until in self._avoided.items() if until > now}
        try:
            self.requests = self._requests()
            self._had_room_at = now
        except ResourcesError as error:
            self.requests = []
            if self._left_out and not self._avoided and self._fits_now():
                reasons = "; ".join(dict.fromkeys(self._left_out.values()))
                raise ClusterError(f"no node is left that can be used: {reasons}") from error
            if now - self._had_room_at > ROOMLESS_SECONDS:
                raise ClusterError(f"the cluster has lost its nodes: {error}") from error

    def has(self, node_id: str | None) -> bool:
        """Tell whether a node was there at the last survey."""
        return node_id is None or node_id in self._alive

    def lose(self, node_id: str) -> None:
        """Avoid a node that was lost, and have the cluster surveyed at once."""
        self._avoided[node_id] = time.monotonic() + AVOID_SECONDS
        self._surveyed_at = -SURVEY_SECONDS

    def kind_of_loss(
        self, error: ray.exceptions.RayError, node_id: str | None, target: str | None
    ) -> str:
        """Return which of `failures` it is that an evaluator is gone.

        node_id: where it was, if it had come to be. target: where it was meant to be.
        """
        text = str(error)
        if isinstance(error, ray.exceptions.OutOfMemoryError) or "low on memory" in text:
            return failures.HOST_OOM
        if getattr(error, "preempted", False) or "node died" in text.lower():
            return failures.NODE_LOST
        if isinstance(error, ray.exceptions.ActorUnschedulableError) or "NodeAffinity" in text:
            return failures.NODE_LOST  # it was meant for a node that is gone, or that is drained
        head = self._head()
        if head is None or head != self._identity:
            return failures.NODE_LOST  # with the head, its node is gone as well
        place = node_id or target
        if place is not None and not self._cluster.is_alive(place):
            return failures.NODE_LOST
        if node_id is None and "creation task" not in text:
            there = {str(node.node_id) for node in self._cluster.nodes()}
            if not self._alive <= there:
                return failures.NODE_LOST  # it went where Ray put it, and that node is gone
        return failures.WORKER_LOST

    def refuse(self, hello: Hello) -> str | None:
        """Note that an evaluator does not work on a node; return what there is to say."""
        if hello.other_code is not None:
            reason = f"{hello.hostname} runs other code than this driver: {hello.other_code}"
        else:
            self._unusable[hello.node_id] += 1
            if self._unusable[hello.node_id] < UNUSABLE_DEVICES:
                return None
            reason = f"{hello.hostname} cannot use its GPU: {hello.no_device}"
        if hello.node_id in self._left_out:
            return None
        self._left_out[hello.node_id] = reason
        self._surveyed_at = -SURVEY_SECONDS
        return f"a node is left out: {reason}"

    def why_nothing_runs(self, starting: int, since: float, *, begun: bool) -> str:
        """Say why there is no evaluator with work.

        starting: evaluators that are not there yet, for so many seconds; begun: one has a process.
        """
        if self._silent_since is not None:
            silent = time.monotonic() - self._silent_since
            return f"the cluster's head has not answered for {silent:.0f} s"
        if not self.requests:
            lost = time.monotonic() - self._had_room_at
            limit = ROOMLESS_SECONDS / 60
            return (
                f"the cluster has lost its nodes {lost:.0f} s ago; the sweep goes on when one is "
                f"back, and ends after {limit:.0f} minutes without"
            )
        if not starting:
            return "evaluators are about to start"
        if not begun and not self._fits_now():
            return "the cluster is starting nodes (see `ray status`)"
        if not begun and since > PLACED_SECONDS:
            kind = "GPUs" if self.requests[0].gpus else "CPUs"
            return f"other work holds the cluster's {kind} (see `ray status`)"
        many = "evaluator is" if starting == 1 else "evaluators are"
        return f"{starting} {many} starting, since {since:.0f} s"

    def _head(self) -> bytes | None:
        """Return who the head is; None if it does not answer. The first answer is remembered."""
        identity = self._cluster.identity()
        self._identity = self._identity or identity
        return identity

    def _fits_now(self) -> bool:
        try:
            nodes = [node for node in self._cluster.nodes() if node.node_id in self._alive]
            return bool(requests(self._resources, nodes, (), timed=self._timed))
        except ResourcesError:
            return False

    def _requests(self) -> list[Request]:
        nodes = self._cluster.nodes()
        self._alive = {str(node.node_id) for node in nodes}
        out = self._avoided.keys() | self._left_out.keys()
        usable = [node for node in nodes if node.node_id not in out]
        possible = self._cluster.node_types()
        return requests(self._resources, usable, possible, timed=self._timed)
