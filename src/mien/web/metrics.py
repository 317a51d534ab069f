"""Metrics for Prometheus."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
"""Methods that are counted each; a client may make up any number of others."""


class Metrics:
    """The figures of one application."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "mien_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self.seconds = Histogram(
            "mien_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["route"],
            registry=registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.faces = Counter("mien_faces", "Faces read.", registry=registry)
        self.batches = Histogram(
            "mien_batch_faces",
            "Faces that went through the network together.",
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
        )

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Add a figure that is looked up whenever somebody asks."""
        Gauge(name, what, registry=self.registry).set_function(value)

    def count_batch(self, n_faces: int) -> None:
        """Count a batch of faces."""
        self.faces.inc(n_faces)
        self.batches.observe(n_faces)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)


class Meter:
    """Counts requests and their time; an ASGI middleware.

    Args:
        app: What is measured.
        metrics: What counts.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_see)
        finally:
            route = getattr(scope.get("route"), "path", "other")  # paths that do not exist are without number
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(route, method, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - start)
