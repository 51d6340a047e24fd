"""Pure: judges a recorded run by what was promised. Knows nothing of processes, logs or clocks of the services."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from tests.system.chaos.events import (
    Accepted,
    Answered,
    Asked,
    Cancelled,
    Chunked,
    Frame,
    History,
    Injected,
    Opened,
    Overdue,
    Refused,
    Stored,
    Transcript,
)
from tests.system.chaos.questions import is_begun, is_whole, tokens_of
from tests.system.chaos.views import View

E = TypeVar("E")

TERMINAL: Final = frozenset({"completed", "cancelled", "failed"})
# What a worker's loss, or the loss of what it finishes into, explains. Faults of gateways, histories and MongoDB explain no restart.
_RERUNS: Final = ("worker", "redis", "history-1 to redis", "history-2 to redis")
_AFTERMATH_S: Final = 20.0


class Violation(NamedTuple):
    """A broken promise: the rule's name, the turn, and what was seen."""

    rule: str
    turn: str
    seen: str


@dataclass
class Run:
    """A history, sorted once for all rules."""

    history: History
    stored: dict[str, Stored] = field(default_factory=dict)
    asked: dict[int, Asked] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stored = {event.turn: event for event in self.all(Stored)}
        self.asked = {event.request: event for event in self.all(Asked)}

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.history.events if isinstance(event, kind)]

    def question(self, turn: str) -> str:
        return self.stored[turn].asked if turn in self.stored else ""


def check(history: History) -> list[Violation]:
    """Every broken promise of the run."""
    run = Run(history)
    return [violation for rule in RULES for violation in rule(run)]


def _accepted_is_stored(run: Run) -> Iterator[Violation]:
    for event in run.all(Accepted):
        stored = run.stored.get(event.turn)
        content = run.asked[event.request].content
        if stored is None:
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
        yield Violation("every turn ends", event.turn, f"request {event.request} waited {event.waited_s:.0f} s after the last fault")


def _stored_text_is_the_models(run: Run) -> Iterator[Violation]:
    wished = {event.turn for event in run.all(Cancelled)}
    for stored in run.stored.values():
        if stored.status == "completed" and not is_whole(stored.asked, stored.text):
            yield Violation("stored text = model's text", stored.turn, f"stored {stored.text[-80:]!r}")
        if stored.status == "cancelled" and not is_begun(stored.asked, stored.text):
            yield Violation("stored text = model's text", stored.turn, f"partial {stored.text[-80:]!r}")
        if stored.status == "cancelled" and stored.turn not in wished and (stored.session or stored.key):
            yield Violation("no turn is cancelled unasked", stored.turn, "nobody asked for it")


def _usage_counts_once(run: Run) -> Iterator[Violation]:
    for stored in run.stored.values():
        if stored.status == "completed" and stored.usage.get("completionTokens") != tokens_of(stored.asked):
            yield Violation("usage counted once", stored.turn, f"{stored.usage} for {tokens_of(stored.asked)} tokens")


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
            texts = {role: "".join(text for each, _, text in told[stored.turn] if each == role) for role in ("user", "assistant")}
            if texts != {"user": stored.asked, "assistant": stored.text}:
                yield Violation("transcript = stored turns", stored.turn, f"the transcript says {texts}")


def _refusals_are_known(run: Run) -> Iterator[Violation]:
    for event in run.all(Refused):
        failed_turn = event.turn and event.status in (500, 502, 504)
        if event.status not in (429, 503) and event.code != "turn_in_progress" and not failed_turn:
            yield Violation("no unforeseen refusal", event.turn, f"request {event.request}: {event.status} {event.code}")


# --- what streams told


def _views(run: Run) -> Iterator[Violation]:
    """Every view's order, its text and its end; and that all views of a turn tell the same."""
    views: dict[int, View] = {}
    bodies: dict[tuple[str, str], Frame] = {}
    for event in run.history.events:
        if isinstance(event, Opened) and event.view not in views:
            views[event.view] = View(turn=event.turn, asked=run.question(event.turn))
        elif isinstance(event, Frame) and (view := views.get(event.view)) is not None:
            yield from _finished_is_not_run_again(run, view, event)
            yield from (Violation("frames", view.turn, f"view {event.view}: {seen}") for seen in view.read(event))
            if event.id is not None:
                first = bodies.setdefault((view.turn, event.id), event)
                if (first.event, first.data) != (event.event, event.data):
                    yield Violation(
                        "one body per id", view.turn, f"{event.id}: {first.event} {first.data}, then {event.event} {event.data}"
                    )
    for view in views.values():
        yield from _end_is_stored(run, view)
    yield from _one_end(views)


def _finished_is_not_run_again(run: Run, view: View, frame: Frame) -> Iterator[Violation]:
    """Looked at before the frame is taken in. Where a worker or Redis was hurt in between, the result may have been lost with it."""
    since = view.whole_at
    if frame.event == "restarted" and frame.id and since is not None and not _explained(run, since, frame.at):
        seen = f"attempt {view.position.attempt} had ended at {since:.1f} s, {frame.id} began at {frame.at:.1f} s, and no fault explains it"
        yield Violation("a finished attempt is not run again", view.turn, seen)


def _explained(run: Run, since: float, until: float) -> bool:
    return any(
        fault.target.startswith(_RERUNS) and fault.at <= until and fault.until >= since - _AFTERMATH_S for fault in run.all(Injected)
    )


def _end_is_stored(run: Run, view: View) -> Iterator[Violation]:
    """A terminal frame is a receipt."""
    stored, end = run.stored.get(view.turn), view.end
    if end is None or stored is None:
        if stored is None:
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
        if view.end is not None:
            ends[view.turn].add((view.end.id, view.end.event))
    for turn, seen in ends.items():
        if len(seen) > 1:
            yield Violation("one terminal state", turn, f"clients were told {sorted(seen, key=str)}")


def _answers(run: Run) -> Iterator[Violation]:
    for event in run.all(Answered):
        stored = run.stored.get(event.turn)
        if stored is None:
            yield Violation("accepted ⊆ stored", event.turn, "was answered, and is stored nowhere")
        elif (event.status, event.text, event.usage) != (stored.status, stored.text, stored.usage):
            told = (event.status, event.text[-60:], event.usage)
            yield Violation(
                "client's end = stored end", event.turn, f"told {told}, stored {stored.status} {stored.text[-60:]!r} {stored.usage}"
            )


def _completions(run: Run) -> Iterator[Violation]:
    for event in run.all(Chunked):
        yield from _completion(run.stored.get(event.turn), run.asked[event.request], event)


def _completion(stored: Stored | None, asked: Asked, event: Chunked) -> Iterator[Violation]:
    text = event.before + event.text
    ended = event.finish is not None or event.done
    if not is_begun(asked.content, text):
        yield Violation("frames", event.turn, f"chunks say {text[-80:]!r}, which is not the model's text")
    if event.how == "clean" and not event.done and event.error is None:
        yield Violation("no clean end on partial text", event.turn, "the stream ended cleanly without [DONE] and without an error")
    if ended and event.error is not None:
        yield Violation("no clean end on partial text", event.turn, f"both an end and the error {event.error}")
    if stored is None:
        if ended:
            yield Violation("accepted ⊆ stored", event.turn, "its end was streamed, and it is stored nowhere")
        return
    if ended and text != stored.text:
        yield Violation(
            "no clean end on partial text", event.turn, f"ended on {text[-60:]!r}, stored is {stored.status} {stored.text[-60:]!r}"
        )
    if event.done and event.usage is not None and event.usage.get("completion_tokens") != stored.usage.get("completionTokens", 0):
        yield Violation("usage counted once", event.turn, f"told {event.usage}, stored {stored.usage}")


RULES: Final[tuple[Callable[[Run], Iterator[Violation]], ...]] = (
    _accepted_is_stored,
    _nothing_twice,
    _ended,
    _stored_text_is_the_models,
    _usage_counts_once,
    _transcripts_tell_the_turns,
    _refusals_are_known,
    _views,
    _answers,
    _completions,
)
