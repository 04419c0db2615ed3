"""Numbers for Prometheus: requests as they come, studies and trials when they are asked for."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from autotune.service.studies import Studies, StudyStatus

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class RequestMetrics:
    """Counts requests by method, route and status. A route is a template, so that no client can
    make as many series as it likes."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "autotune_http_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "autotune_http_request_seconds",
            "Time to the end of an answer; event streams last as long as they are watched.",
            ["route"],
            registry=self._registry,
        )

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """One request is over.

        Args:
            scope: The request.
            status: Of the answer; 0 where there was none.
            seconds: From its beginning to its end.
        """
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "unmatched")
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self, studies: Studies) -> bytes:
        """All numbers now, as Prometheus reads them.

        Args:
            studies: Asked once.
        """
        asked = CollectorRegistry()
        asked.register(_StudyNumbers(studies))
        return generate_latest(self._registry) + generate_latest(asked)


class _StudyNumbers(Collector):
    def __init__(self, studies: Studies) -> None:
        self._studies = studies

    def describe(self) -> Iterator[Metric]:
        """Nothing is asked of the database before somebody wants to know."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        overviews = self._studies.overviews()
        statuses = Counts(overview.status for overview in overviews)
        trials: Counts[str] = Counts()
        for overview in overviews:
            trials.update(overview.outcomes)
        studies = GaugeMetricFamily(
            "autotune_studies", "Studies in the database.", labels=["state"]
        )
        for status in StudyStatus:
            studies.add_metric([status.value], statuses[status])
        yield studies
        outcomes = GaugeMetricFamily(
            "autotune_trials", "Trials in the database; running ones too.", labels=["outcome"]
        )
        for outcome, count in sorted(trials.items()):
            outcomes.add_metric([outcome], count)
        yield outcomes
        yield GaugeMetricFamily(
            "autotune_queue_length", "Studies that wait.", value=statuses[StudyStatus.QUEUED]
        )
