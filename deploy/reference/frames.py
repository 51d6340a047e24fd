"""frames.md: the frames of a turn's stream, from `shared/contracts/frame_types.py`."""

from deploy.reference.markdown import page as markdown_page
from deploy.reference.markdown import table
from shared.contracts.frame_types import FRAME_TYPES, FrameType

INTRODUCTION = """\
A session's stream is `text/event-stream`. Each frame has `event:`, `data:` (one line of JSON) and, where it is part of
the run log, `id: <attempt>-<seq>`. Ids only grow within a turn. Send the last id that you have as `Last-Event-ID` to
resume. A comment line (`: ping`) comes after at most 5 s of silence. Ignore event types and members that you do not
know. A stream that ends without `done` or `error` is not an answer: resume it."""


def page() -> str:
    rows = [(f"`{name}`", kind.source, kind.when) for name, kind in FRAME_TYPES.items()]
    overview = table(("event", "written by", "when"), rows)
    members = [_members(name, kind) for name, kind in FRAME_TYPES.items()]
    return markdown_page("Frames of a stream", "shared/contracts/frame_types.py", INTRODUCTION, overview, *members)


def _members(name: str, kind: FrameType) -> str:
    rows = [(f"`{member.removesuffix('?')}`", _meaning(member, text)) for member, text in kind.members.items()]
    return f"## `{name}`\n\n" + table(("member of `data`", "meaning"), rows)


def _meaning(member: str, text: str) -> str:
    return f"{text} (may be missing)" if member.endswith("?") else text
