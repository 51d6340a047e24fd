"""Pure: judges a recorded run by what was promised. Knows nothing of processes, logs or clocks of the services."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from tests.system.chaos.bill import bill_faults
from tests.system.chaos.events import (
    Accepted,
    Answered,
    Asked,
    Billed,
    Cancelled,
    Chunked,
    Closed,
    Counted,
    Deleted,
    Deleting,
    Ending,
    Failed,
    Frame,
    History,
    Injected,
    Kept,
    Looked,
    Opened,
    Overdue,
    Probed,
    Recovered,
    Refused,
    Remains,
    Reserved,
    Stored,
    Told,
    Transcript,
    Untold,
)
from tests.system.chaos.knowledge_rules import knowledge_faults
from tests.system.chaos.questions import is_started, is_whole, tokens_of
from tests.system.chaos.told import told_faults
from tests.system.chaos.views import View

E = TypeVar("E")

TERMINAL: Final = frozenset({"completed", "cancelled", "failed"})
# What a worker's loss, or the loss of what it finishes into, explains. Faults of gateways, histories and MongoDB
# explain no restart.
_RERUNS: Final = ("worker", "redis", "history-1 to redis", "history-2 to redis")
_AFTERMATH_S: Final = 20.0
# A gateway asks history about a silent turn every 5 s, and a reconciler completes a deletion that was cut off.
_GONE_WITHIN_S: Final = 10.0
# The promises are 1 s and 5 s: here the clients, the proxies and whatever else runs share the machine's cores. The
# report tells all times.
_REFUSED_WITHIN_S: Final = 2.5
_BACK_WITHIN_S: Final = 8.0


class Violation(NamedTuple):
    """A broken promise: the rule's name, the turn, and what was seen."""

    rule: str
    turn: str
    seen: str


@dataclass
class Run:
    """A history, sorted once for all rules. `slack`: how often the time limits of the promises may pass."""

    history: History
    slack: float = 1.0
    stored: dict[str, Stored] = field(default_factory=dict)
    asked: dict[int, Asked] = field(default_factory=dict)
    accepted: dict[str, Asked] = field(default_factory=dict)
    ending: dict[str, float] = field(default_factory=dict)
    deleting: dict[str, float] = field(default_factory=dict)
    deleted: dict[str, float] = field(default_factory=dict)
    faults: list[Injected] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stored = {event.turn: event for event in self.all(Stored)}
        self.asked = {event.request: event for event in self.all(Asked)}
        self.accepted = {event.turn: self.asked[event.request] for event in self.all(Accepted)}
        self.ending = {event.session: event.at for event in self.all(Ending)}
        self.deleting = {event.session: event.at for event in self.all(Deleting)}
        self.deleted = {event.session: event.at for event in self.all(Deleted)}
        self.faults = self.all(Injected)

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.history.events if isinstance(event, kind)]

    def question(self, turn: str) -> str:
        if turn in self.stored:
            return self.stored[turn].asked
        return self.accepted[turn].content if turn in self.accepted else ""

    def is_erased(self, turn: str, session: str = "") -> bool:
        """Whether its session's deletion was asked for: then it may be stored nowhere."""
        return (session or (self.accepted[turn].session if turn in self.accepted else "")) in self.deleting

    def disturbed(self, since: float, until: float, but: str = "") -> bool:
        """Whether any fault was at work then, `but` for those of one kind."""
        return any(fault.at <= until and fault.until >= since for fault in self.faults if fault.kind != but)


def check(history: History, slack: float = 1.0) -> list[Violation]:
    """Every broken promise of the run. `slack`: how many times the promised time a wait may last on a slow host."""
    run = Run(history, slack)
    return [violation for rule in RULES for violation in rule(run)]


def _accepted_is_stored(run: Run) -> Iterator[Violation]:
    for event in run.all(Accepted):
        stored = run.stored.get(event.turn)
        content = run.asked[event.request].content
        if stored is None:
            if not run.is_erased(event.turn):
                yield Violation("accepted ⊆ stored", event.turn, f"accepted at {event.at:.1f} s, stored nowhere")
        elif stored.asked != content:
            yield Violation("accepted ⊆ stored", event.turn, f"{content!r} was accepted, {stored.asked!r} is stored")


def _nothing_twice(run: Run) -> Iterator[Violation]:
    """A turn that failed for a passing reason releases its key: it may be asked again."""
    counted = [stored for stored in run.stored.values() if not (stored.status == "failed" and stored.retryable)]
    for question, count in Counter(stored.asked for stored in counted).items():
        if count > 1:
            turns = [stored.turn for stored in counted if stored.asked == question]
            yield Violation("no message twice", turns[-1], f"{question!r} is stored in {turns}")
    for message, count in Counter(name for stored in run.stored.values() for name in stored.message_ids).items():
        if count > 1:
            yield Violation("no message twice", "", f"message {message} is stored {count} times")


def _ended(run: Run) -> Iterator[Violation]:
    for stored in run.stored.values():
        if stored.status not in TERMINAL:
            yield Violation("every turn ends", stored.turn, f"still {stored.status} in attempt {stored.attempt}")
        elif stored.status == "failed":
            yield Violation("no turn fails without cause", stored.turn, f"{stored.error} in attempt {stored.attempt}")
    for event in run.all(Overdue):
        yield Violation(
            "every turn ends", event.turn, f"request {event.request} waited {event.waited_s:.0f} s after the last fault"
        )


def _stored_text_is_the_models(run: Run) -> Iterator[Violation]:
    wished = {event.turn for event in run.all(Cancelled)}
    for stored in run.stored.values():
        if stored.status == "completed" and not is_whole(stored.asked, stored.text):
            yield Violation("stored text = model's text", stored.turn, f"stored {stored.text[-80:]!r}")
        if stored.status == "cancelled" and not is_started(stored.asked, stored.text):
            yield Violation("stored text = model's text", stored.turn, f"partial {stored.text[-80:]!r}")
        unasked = stored.turn not in wished and stored.session not in run.ending and stored.session not in run.deleting
        if stored.status == "cancelled" and unasked and (stored.session or stored.key):
            yield Violation("no turn is cancelled unasked", stored.turn, "nobody asked for it")


def _usage_counts_once(run: Run) -> Iterator[Violation]:
    for stored in run.stored.values():
        if stored.status == "completed" and stored.usage.get("completionTokens") != tokens_of(stored.asked):
            yield Violation("usage counted once", stored.turn, f"{stored.usage} for {tokens_of(stored.asked)} tokens")


def _usage_is_the_bill(run: Run) -> Iterator[Violation]:
    if any(stored.status not in TERMINAL for stored in run.stored.values()):
        return  # Another rule tells of turns that do not end.
    for counted in run.all(Counted):
        for fault in bill_faults(list(run.stored.values()), run.all(Billed), counted):
            yield Violation("usage = what the model billed", fault.turn, fault.seen)


def _webhook_is_told(run: Run) -> Iterator[Violation]:
    """Of a deleted session, events may be told or not: the deletion erases what waits."""
    kept = [each for each in run.all(Kept) if each.session not in run.deleting]
    turns = [each for each in run.stored.values() if each.session not in run.deleting and each.status in TERMINAL]
    if kept:  # There was a webhook.
        for fault in told_faults(kept, turns, run.all(Told), run.all(Untold)):
            yield Violation(*fault)


def _knowledge_is_whole_or_gone(run: Run) -> Iterator[Violation]:
    for fault in knowledge_faults(run.history):
        yield Violation(fault.rule, "", fault.seen)


def _transcripts_tell_the_turns(run: Run) -> Iterator[Violation]:
    turns: defaultdict[str, list[Stored]] = defaultdict(list)
    for stored in run.stored.values():
        turns[stored.session].append(stored)
    for transcript in run.all(Transcript):
        told: defaultdict[str, list[tuple[str, str, str]]] = defaultdict(list)
        for turn, role, message, text in transcript.messages:
            told[turn].append((role, message, text))
        if len({message for _, _, message, _ in transcript.messages}) < len(transcript.messages):
            yield Violation("no message twice", "", f"the transcript of {transcript.session} repeats a message")
        for stored in turns[transcript.session]:
            texts = {
                role: "".join(text for each, _, text in told[stored.turn] if each == role)
                for role in ("user", "assistant")
            }
            if texts != {"user": stored.asked, "assistant": stored.text}:
                yield Violation("transcript = stored turns", stored.turn, f"the transcript says {texts}")


def _refusals_are_known(run: Run) -> Iterator[Violation]:
    for event in run.all(Refused):
        failed_turn = event.turn and event.status in (500, 502, 504)
        if (
            event.status not in (429, 503)
            and event.code != "turn_in_progress"
            and not failed_turn
            and not _session_over(run, event)
        ):
            yield Violation(
                "no unforeseen refusal", event.turn, f"request {event.request}: {event.status} {event.code}"
            )


def _session_over(run: Run, event: Refused) -> bool:
    """Whether the refusal says what a client itself had wished for before."""
    session = run.asked[event.request].session if event.request in run.asked else ""
    wished = {"session_ended": run.ending, "session_not_found": run.deleting, "turn_not_found": run.deleting}.get(
        event.code, {}
    )
    return wished.get(session, event.at + 1.0) <= event.at


# --- what must be gone


def _deleted_is_gone(run: Run) -> Iterator[Violation]:
    for event in run.all(Looked):
        # What was looked at is a part of a session whose deletion was acknowledged before; a repeated deletion is
        # acknowledged again.
        if event.what == "DELETE" or event.status != 404:
            yield Violation(
                "deleted is gone",
                "",
                f"{event.what} of {event.session} was answered {event.status} at {event.at:.1f} s",
            )
    for left in run.all(Remains):
        yield Violation("deleted is gone", "", f"of {left.session} there is still {left.what}")


def _deleted_streams_end(run: Run) -> Iterator[Violation]:
    opened: dict[int, Opened] = {}
    for event in run.history.events:
        if isinstance(event, Opened):
            opened[event.view] = event
        elif isinstance(event, Closed) and (stream := opened.get(event.view)) is not None:
            since = max(run.deleted.get(stream.session, event.at), stream.at)
            if event.at - since > _GONE_WITHIN_S * run.slack and not run.disturbed(since, event.at):
                seen = f"a stream of {stream.session} was still open {event.at - since:.1f} s after its deletion"
                yield Violation("deleted is gone", stream.turn, seen)


def _reservations_are_released(run: Run) -> Iterator[Violation]:
    for event in run.all(Reserved):
        stored = run.stored.get(event.turn)
        if stored is None or stored.status in TERMINAL:
            yield Violation("reservations are released", event.turn, f"Redis still reserves {event.what}")


# --- how long clients had to wait


def _one_retry_is_enough(run: Run) -> Iterator[Violation]:
    """Of runs that only restart services in turn. (A client that tries three times has failed twice in a row.)"""
    if {fault.kind for fault in run.faults} == {"roll services"}:
        for event in run.all(Failed):
            if event.tries > 1:
                where = f"{event.gateway} at {event.at:.1f} s"
                seen = f"{event.asked} failed at {where} with {event.what}: {event.tries} times in a row"
                yield Violation("one retry is enough", "", seen)


def _outages_are_told(run: Run) -> Iterator[Violation]:
    """While a store is away, new turns are refused at once; when it is back, they are soon accepted."""
    for event in run.all(Probed):
        if event.status not in (0, 200, 202, 503):  # Whatever else happens at that time.
            yield Violation("no unforeseen refusal", "", f"{event.kind}: a new turn was answered {event.status}")
        told = event.status in (200, 202) or (event.status == 503 and event.retry_after)
        if not (told and event.took_s <= _REFUSED_WITHIN_S * run.slack) and not run.disturbed(
            event.at - 3.0, event.at + event.took_s, but=event.kind
        ):
            how = "with" if event.retry_after else "without"
            seen = f"{event.kind}: a new turn was answered {event.status} {how} Retry-After after {event.took_s:.1f} s"
            yield Violation("outages are told", "", seen)
    for back in run.all(Recovered):
        if back.after_s > _BACK_WITHIN_S * run.slack and not run.disturbed(
            back.at - back.after_s - 3.0, back.at, but=back.kind
        ):
            seen = f"{back.kind}: a new turn completed only {back.after_s:.1f} s after the store was ready"
            yield Violation("outages are told", "", seen)


# --- what streams told


def _views(run: Run) -> Iterator[Violation]:
    """Every view's order, its text and its end; and that all views of a turn tell the same."""
    views: dict[int, View] = {}
    bodies: dict[tuple[str, str], Frame] = {}
    for event in run.history.events:
        if isinstance(event, Opened) and event.view not in views:
            views[event.view] = View(turn=event.turn, asked=run.question(event.turn), session=event.session)
        elif isinstance(event, Frame) and (view := views.get(event.view)) is not None:
            view.erased = run.deleting.get(view.session, event.at + 1.0) <= event.at
            yield from _finished_is_not_run_again(run, view, event)
            yield from (Violation("frames", view.turn, f"view {event.view}: {seen}") for seen in view.read(event))
            if event.id is not None:
                first = bodies.setdefault((view.turn, event.id), event)
                if (first.event, first.data) != (event.event, event.data):
                    yield Violation(
                        "one body per id",
                        view.turn,
                        f"{event.id}: {first.event} {first.data}, then {event.event} {event.data}",
                    )
    for view in views.values():
        yield from _end_is_stored(run, view)
    yield from _one_end(views)


def _finished_is_not_run_again(run: Run, view: View, frame: Frame) -> Iterator[Violation]:
    """Looked at before the frame is taken in.

    Where a worker or Redis was hurt in between, the result may have been lost with it.
    """
    since = view.whole_at
    if frame.event == "restarted" and frame.id and since is not None and not _explained(run, since, frame.at):
        ended = f"attempt {view.position.attempt} had ended at {since:.1f} s"
        seen = f"{ended}, {frame.id} began at {frame.at:.1f} s, and no fault explains it"
        yield Violation("a finished attempt is not run again", view.turn, seen)


def _explained(run: Run, since: float, until: float) -> bool:
    return any(_may_rerun(fault) and fault.at <= until and fault.until >= since - _AFTERMATH_S for fault in run.faults)


def _may_rerun(fault: Injected) -> bool:
    """A finished turn is on its way through Redis: what happens between workers and history does not touch it."""
    return fault.target.startswith(_RERUNS) and " to history" not in fault.target


def _end_is_stored(run: Run, view: View) -> Iterator[Violation]:
    """A terminal frame is a receipt."""
    stored, end = run.stored.get(view.turn), view.end
    if end is None or stored is None:
        if stored is None and not run.is_erased(view.turn, view.session):
            yield Violation("accepted ⊆ stored", view.turn, "was streamed, and is stored nowhere")
        return
    said: dict[str, object] = {"status": end.data.get("status", "failed"), "id": end.id}
    holds: dict[str, object] = {"status": stored.status, "id": f"{stored.attempt}-{stored.last_seq}"}
    if end.event == "done":
        said |= {"text": end.data["text"], "usage": end.data["usage"]}
        holds |= {"text": stored.text, "usage": stored.usage}
    if said != holds:
        yield Violation("client's end = stored end", view.turn, f"the client was told {said}, stored is {holds}")


def _one_end(views: dict[int, View]) -> Iterator[Violation]:
    ends: defaultdict[str, set[tuple[str | None, str]]] = defaultdict(set)
    for view in views.values():
        if view.end is not None and view.end.id is not None:
            ends[view.turn].add((view.end.id, view.end.event))
    for turn, seen in ends.items():
        if len(seen) > 1:
            yield Violation("one terminal state", turn, f"clients were told {sorted(seen, key=str)}")


def _answers(run: Run) -> Iterator[Violation]:
    for event in run.all(Answered):
        stored = run.stored.get(event.turn)
        if stored is None:
            if not run.is_erased(event.turn):
                yield Violation("accepted ⊆ stored", event.turn, "was answered, and is stored nowhere")
        elif (event.status, event.text, event.usage) != (stored.status, stored.text, stored.usage):
            told = (event.status, event.text[-60:], event.usage)
            yield Violation(
                "client's end = stored end",
                event.turn,
                f"told {told}, stored {stored.status} {stored.text[-60:]!r} {stored.usage}",
            )


def _completions(run: Run) -> Iterator[Violation]:
    for event in run.all(Chunked):
        yield from _completion(run.stored.get(event.turn), run.asked[event.request], event)


def _completion(stored: Stored | None, asked: Asked, event: Chunked) -> Iterator[Violation]:
    text = event.before + event.text
    ended = event.finish is not None or event.done
    if not is_started(asked.content, text):
        yield Violation("frames", event.turn, f"chunks say {text[-80:]!r}, which is not the model's text")
    if event.how == "clean" and not event.done and event.error is None:
        yield Violation(
            "no clean end on partial text", event.turn, "the stream ended cleanly without [DONE] and without an error"
        )
    if ended and event.error is not None:
        yield Violation("no clean end on partial text", event.turn, f"both an end and the error {event.error}")
    if stored is None:
        if ended:
            yield Violation("accepted ⊆ stored", event.turn, "its end was streamed, and it is stored nowhere")
        return
    if ended and text != stored.text:
        yield Violation(
            "no clean end on partial text",
            event.turn,
            f"ended on {text[-60:]!r}, stored is {stored.status} {stored.text[-60:]!r}",
        )
    if (
        event.done
        and event.usage is not None
        and event.usage.get("completion_tokens") != stored.usage.get("completionTokens", 0)
    ):
        yield Violation("usage counted once", event.turn, f"told {event.usage}, stored {stored.usage}")


RULES: Final[tuple[Callable[[Run], Iterator[Violation]], ...]] = (
    _accepted_is_stored,
    _nothing_twice,
    _ended,
    _stored_text_is_the_models,
    _usage_counts_once,
    _usage_is_the_bill,
    _webhook_is_told,
    _knowledge_is_whole_or_gone,
    _transcripts_tell_the_turns,
    _refusals_are_known,
    _deleted_is_gone,
    _deleted_streams_end,
    _reservations_are_released,
    _one_retry_is_enough,
    _outages_are_told,
    _views,
    _answers,
    _completions,
)
