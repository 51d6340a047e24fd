"""An agent's checks: put, read, run, and the results of their runs."""

from typing import Any, Final, Self

from aiohttp import web
from pydantic import Field, model_validator

from services.gateway.api.agents import IF_MATCH, agent_id, if_match, json_object
from services.gateway.call import Call, Route
from services.gateway.edge.params import CURSOR, IDEMPOTENCY, LIMIT, OWN_BODY
from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import idempotency_key, json_body, page_query
from shared.contracts.checks import CheckRun, CheckSuite, PutChecks, RunChecks, StoredChecks
from shared.contracts.errors import Code
from shared.contracts.keys import Scope
from shared.contracts.schema import PublicRequest

DRAFT: Final = 0


class RunRequest(PublicRequest):
    """What the checks run against: one version, or the draft as it is now."""

    version: int | None = Field(default=None, ge=1, le=999_999_999)
    draft: bool = False

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.version is None) != self.draft:
            raise ValueError("give either version or draft: true")
        return self


def shown(run: CheckRun) -> dict[str, Any]:
    shown = run.model_dump(mode="json", by_alias=True)
    if run.results is None:
        del shown["results"]
    return shown


def _with_tag(stored: StoredChecks) -> web.Response:
    """The checks as their author wrote them: members that were left out stay so."""
    return data_response({"updatedAt": None, **stored.wire()}, headers={"ETag": f'"{stored.revision}"'})


async def get(call: Call) -> web.StreamResponse:
    return _with_tag(await call.dependencies.history.checks(call.workspace, agent_id(call)))


async def put(call: Call) -> web.StreamResponse:
    wanted, revision = agent_id(call), if_match(call.request)
    suite = await json_object(call.request)
    order = PutChecks(suite=suite, revision=revision, actor=call.principal.key_id)
    return _with_tag(await call.dependencies.history.put_checks(call.workspace, wanted, order))


async def run(call: Call) -> web.StreamResponse:
    """202: the run has begun. With an `Idempotency-Key` a repeat is the same run."""
    wanted, key = agent_id(call), idempotency_key(call.request)
    body = await json_body(call.request, RunRequest)
    # Publishing makes runs under keys of its own, which callers must not meet.
    own_key = f"api:{key}" if key is not None else None
    order = RunChecks(version=body.version or DRAFT, key=own_key, actor=call.principal.key_id)
    started = await call.dependencies.history.run_checks(call.workspace, wanted, order)
    location = call.request.path.removesuffix("/run") + f"/runs/{started.id}"
    return data_response(shown(started), status=202, headers={"Location": location})


async def list_runs(call: Call) -> web.StreamResponse:
    wanted = agent_id(call)
    page = await call.dependencies.history.check_runs(call.workspace, wanted, page_query(call.request.query))
    return page_response({**page, "items": [shown(CheckRun.model_validate(item)) for item in page["items"]]})


async def get_run(call: Call) -> web.StreamResponse:
    wanted = agent_id(call)
    run_id = call.path_id("runId", "chk", Code.NOT_FOUND)
    return data_response(shown(await call.dependencies.history.check_run(call.workspace, wanted, run_id)))


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/agents/{agentId}/checks",
        serve=get,
        scope=Scope.AGENTS_READ,
        summary="Get the agent's checks; `ETag` is their revision",
        replies={200: (Reply("the checks", StoredChecks),)},
        errors=(Code.AGENT_NOT_FOUND,),
    ),
    Route(
        method="PUT",
        path="/agents/{agentId}/checks",
        serve=put,
        scope=Scope.AGENTS_WRITE,
        summary="Replace the agent's checks",
        request=CheckSuite,
        params=(IF_MATCH,),
        replies={200: (Reply("the checks", StoredChecks),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND, Code.VERSION_CONFLICT),
    ),
    Route(
        method="POST",
        path="/agents/{agentId}/checks/run",
        serve=run,
        scope=Scope.AGENTS_WRITE,
        summary="Run the checks against a version or the draft; `Location` is the run",
        request=RunRequest,
        params=(IDEMPOTENCY,),
        replies={
            202: (Reply("the run, which has begun", CheckRun, gives={"/agents/{agentId}/checks/runs/{runId}": "id"}),)
        },
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND, Code.NOT_FOUND, Code.IDEMPOTENCY_MISMATCH),
    ),
    Route(
        method="GET",
        path="/agents/{agentId}/checks/runs",
        serve=list_runs,
        scope=Scope.AGENTS_READ,
        summary="List runs of the checks without their results, newest first",
        params=(LIMIT, CURSOR),
        replies={200: (Reply("a page of runs", CheckRun, paged=True),)},
        errors=(Code.AGENT_NOT_FOUND,),
    ),
    Route(
        method="GET",
        path="/agents/{agentId}/checks/runs/{runId}",
        serve=get_run,
        scope=Scope.AGENTS_READ,
        summary="Get a run with its results, compared with the version before",
        replies={200: (Reply("the run", CheckRun),)},
        errors=(Code.AGENT_NOT_FOUND, Code.NOT_FOUND),
    ),
)
