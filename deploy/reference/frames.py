"""frames.md: the frames of a turn's stream, from `shared/contracts/frame_types.py`."""

from collections.abc import Mapping

from deploy.reference.markdown import page as markdown_page
from deploy.reference.markdown import table
from shared.contracts.frame_types import FRAME_TYPES, FrameType
from shared.contracts.session_events import SESSION_EVENT_TYPES

INTRODUCTION = """\
A session's stream is `text/event-stream`. Each frame has `event:`, `data:` (one line of JSON) and, where it is part of
the run log, `id: <attempt>-<seq>`. Ids only grow within a turn. Send the last id that you have as `Last-Event-ID` to
resume. A comment line (`: ping`) comes after at most 5 s of silence. Ignore event types and members that you do not
know. A stream that ends without `done` or `error` is not an answer: resume it."""
SESSION_INTRODUCTION = """\
# Events of a session

`GET /chat/sessions/{id}/events` is the stream of the whole session. Its ids are `<turnId>.<attempt>-<seq>`, and
`Last-Event-ID` resumes it on any gateway. It has the events below (from `shared/contracts/session_events.py`), and with
`?frames=true` also the frames above with the turn in their ids, except `queued`, `done` and `error`. A turn that had
ended before a reader without a position came is told without its frames. An `error` event ends a stream that cannot go
on, for example because the session was deleted. A stream that ends without `session_ended` goes on: resume it."""


def page() -> str:
    source = "shared/contracts/frame_types.py"
    parts = [*_types(FRAME_TYPES), SESSION_INTRODUCTION, *_types(SESSION_EVENT_TYPES)]
    return markdown_page("Frames of a stream", source, INTRODUCTION, *parts)


def _types(types: Mapping[str, FrameType]) -> list[str]:
    overview = table(("event", "written by", "when"), [(f"`{name}`", of.source, of.when) for name, of in types.items()])
    return [overview, *(_members(name, of) for name, of in types.items())]


def _members(name: str, kind: FrameType) -> str:
    rows = [(f"`{member.removesuffix('?')}`", _meaning(member, text)) for member, text in kind.members.items()]
    return f"## `{name}`\n\n" + table(("member of `data`", "meaning"), rows)


def _meaning(member: str, text: str) -> str:
    return f"{text} (may be missing)" if member.endswith("?") else text
