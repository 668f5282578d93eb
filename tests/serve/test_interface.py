"""The interface is as /openapi.json describes it, whatever is asked: by schemathesis."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from served import Client

METHODS = {
    ("/v1/about", "get"),
    ("/v1/entries", "get"),
    ("/v1/entries", "post"),
    ("/v1/entries", "delete"),
    ("/v1/queries", "post"),
    ("/v1/matches", "get"),
    ("/v1/picture", "get"),
}


def test_the_interface_has_what_was_agreed(client: Client) -> None:
    paths = client.get("/openapi.json").json["paths"]
    assert {(path, method) for path in paths for method in paths[path]} == METHODS


def test_every_answer_is_one_of_those_described(client: Client) -> None:
    """Statuses, content types and bodies; none is an error of the server's own."""
    schema = schemathesis.openapi.from_url(f"{client.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {(operation.path, operation.method) for operation in operations} == METHODS
    for operation in operations:
        _check(operation)


def _check(operation: Any) -> None:  # noqa: ANN401 - an operation of schemathesis
    @settings(max_examples=12, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def asked(case: Any) -> None:  # noqa: ANN401
        case.call_and_validate(excluded_checks=[schemathesis.checks.CHECKS.get_one("positive_data_acceptance")])

    asked()
