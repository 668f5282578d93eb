"""What is counted is what was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from served import Client, serving

from reid.runtime.sessions.session import Session
from reid.serve.refusals import Limits


def samples(client: Client) -> dict[tuple[str, ...], float]:
    """Return the samples by name and labels, as Prometheus' own parser reads them."""
    families = text_string_to_metric_families(client.get("/metrics").body.decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_count_requests_batches_refusals_and_entries(session: Session, material: Any, store: Path) -> None:  # noqa: ANN401
    picture = (material.queries[0].name, material.queries[0].read_bytes())
    with serving(session, store, limits=Limits(bytes=100_000, rate=1e6)) as client:
        for count in (1, 2, 3):
            client.post("/v1/queries", count * [picture])
        client.post("/v1/queries", [("a", b"none")])
        client.post("/v1/queries", [("a", bytes(100_000))])
        client.get("/no/such/path/1")
        client.get("/no/such/path/2")
        client.post("/v1/entries", [picture], {"id": "new"})
        found = samples(client)
    assert found["reid_requests_total", "/v1/queries", "200"] == 3
    assert found["reid_requests_total", "/v1/queries", "422"] == 1
    assert found["reid_requests_total", "/v1/queries", "413"] == 1
    assert found["reid_requests_total", "other", "404"] == 2
    assert found["reid_refusals_total", "bytes"] == 1
    assert found["reid_request_seconds_count", "/v1/queries"] == 5
    assert (found["reid_batch_frames_count",], found["reid_batch_frames_sum",]) == (4, 1 + 2 + 3 + 1)
    assert found["reid_inbox_pictures",] == 0
    assert found["reid_entries",] == 29
