"""The routes of Jobs: hardware that can be rented, and jobs that are started and never run."""

from collections.abc import Callable

from tests.hub_server.state import Hub, require_login
from tests.hub_server.wire import HubError, Request, Response, json_response

FLAVORS = ("cpu-basic", "cpu-upgrade", "t4-small", "l4x1", "a10g-small", "a10g-large", "h200")


def hardware(hub: Hub, request: Request) -> Response:
    """What can be rented."""
    about = {"cpu": "2 vCPU", "ram": "16 GB", "unitCostMicroUSD": 167, "unitCostUSD": 0.000167, "unitLabel": "minute"}
    return json_response([{"name": name, "prettyName": name, **about} for name in FLAVORS])


def start(hub: Hub, request: Request) -> Response:
    """The new job; its secrets come back by name."""
    user, namespace, spec = require_login(hub.user(request)), request.segments[2], request.json()
    if namespace not in (user.name, *user.orgs):
        raise HubError(403, f"You may not start jobs for {namespace}")
    if not hub.jobs_credit:
        raise HubError(402, "Payment Required: pre-paid credit balance is insufficient")
    if spec.get("flavor") not in FLAVORS:
        raise HubError(400, f"Invalid flavor: {spec.get('flavor')}")
    hub.jobs.append(spec)
    answer = {
        "id": f"{len(hub.jobs):024x}",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "dockerImage": spec.get("dockerImage"),
        "command": spec["command"],
        "arguments": spec["arguments"],
        "environment": spec["environment"],
        "secrets": dict.fromkeys(spec.get("secrets", {}), ""),
        "flavor": spec["flavor"],
        "status": {"stage": "SCHEDULING", "message": None},
        "owner": {"id": user.name, "name": namespace, "type": "user"},
    }
    return json_response(answer)


def route(request: Request) -> Callable[[Hub, Request], Response] | None:
    """Who answers a request about jobs; None if it is about something else."""
    if request.segments[:2] != ("api", "jobs") or len(request.segments) != 3:
        return None
    if request.method == "GET" and request.segments[2] == "hardware":
        return hardware
    return start if request.method == "POST" else None
