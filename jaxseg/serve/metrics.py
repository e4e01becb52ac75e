"""Counters of a server for Prometheus."""

import prometheus_client as prometheus

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one server, in their own registry."""

    def __init__(self) -> None:
        self._registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        self.requests = prometheus.Counter(
            "jaxseg_requests",
            "Prediction requests by response status.",
            ["status"],
            registry=registry,
        )
        self.images = prometheus.Counter(
            "jaxseg_images", "Labelled images.", ["network"], registry=registry
        )
        self.batches = prometheus.Counter(
            "jaxseg_batches", "Labelled batches.", ["network"], registry=registry
        )
        self.compilations = prometheus.Counter(
            "jaxseg_compilations", "Compiled programs.", ["network"], registry=registry
        )
        self.seconds = prometheus.Histogram(
            "jaxseg_request_seconds",
            "Seconds from a request with an image to its response.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.waiting = prometheus.Gauge(
            "jaxseg_waiting_images", "Images waiting for the network.", registry=registry
        )

    def text(self) -> bytes:
        """All counters in Prometheus's text format."""
        return prometheus.generate_latest(self._registry)
