"""Faults that are planted in the widget's sources, one at a time, and the test that has to notice each of them."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple

from tests.system.browser.host_page import SAME_SITE
from tests.system.browser.test_accessibility import test_a_screen_reader_is_told_the_answer_once_sentence_by_sentence
from tests.system.browser.test_delivery import (
    test_a_message_that_was_not_sent_before_a_reload_is_sent_once_after_it,
    test_a_message_whose_answer_is_lost_is_sent_again_and_becomes_one_turn,
    test_events_that_come_again_are_shown_once,
)
from tests.system.browser.test_earlier import test_another_person_at_the_same_browser_sees_nothing_of_it
from tests.system.browser.test_hostile_content import test_hostile_content_runs_nothing_and_loads_nothing
from tests.system.browser.test_strangers_messages import (
    test_another_frame_of_the_page_cannot_speak_for_the_widgets_frame,
    test_only_the_page_that_holds_the_frame_can_speak_to_it,
)
from tests.system.browser.test_widget import (
    test_a_reload_in_mid_answer_brings_the_rest_once,
    test_a_visitor_under_a_flood_gets_through_and_reads_why_it_takes_longer,
    test_consent_holds_back_the_first_message,
    test_the_death_of_a_gateway_in_mid_answer_loses_nothing,
    test_two_tabs_show_the_same_conversation,
)

Test = Callable[..., Awaitable[None]]


class Mutant(NamedTuple):
    """`before` stands once in the file below `src`. `test` takes the stack and a browser's context."""

    fault: str
    file: str
    before: str
    after: str
    test: Test


MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "messages are sent without an idempotency key",
        "frame/api.ts",
        '{ "Idempotency-Key": key, Prefer: "respond-async" }',
        '{ Prefer: "respond-async" }',
        test_a_message_whose_answer_is_lost_is_sent_again_and_becomes_one_turn,
    ),
    Mutant(
        "messages that wait are not stored",
        "frame/store.ts",
        "this.remember({ outbox: this.kept });",
        "",
        test_a_message_that_was_not_sent_before_a_reload_is_sent_once_after_it,
    ),
    Mutant(
        "a reload forgets the conversation",
        "loader/storage.ts",
        'JSON.parse(this.storage?.getItem(this.name) ?? "null")',
        "null",
        test_a_reload_in_mid_answer_brings_the_rest_once,
    ),
    Mutant(
        "a stream that was cut is not resumed",
        "frame/session-stream.ts",
        "while (!signal.aborted && !ended) {",
        "for (let once = 0; once < 1; once++) {",
        test_the_death_of_a_gateway_in_mid_answer_loses_nothing,
    ),
    Mutant(
        "an event that comes twice is applied twice",
        "frame/conversation.ts",
        "if (found && (attempt < turn.attempt || (attempt === turn.attempt && seq <= turn.seq))) return turn;",
        "",
        test_events_that_come_again_are_shown_once,
    ),
    Mutant(
        "a tab does not tell the others what it reads",
        "frame/shared-stream.ts",
        'this.tell({ kind: "event", event, reader: this.me, count: ++this.count });',
        "",
        partial(test_two_tabs_show_the_same_conversation, address=SAME_SITE),
    ),
    Mutant(
        "links of any kind are shown",
        "frame/markdown.tsx",
        "return LINKS.has(url.protocol) && !url.username && !url.password ? url : null;",
        "return url;",
        test_hostile_content_runs_nothing_and_loads_nothing,
    ),
    Mutant(
        "the answer is in no live region",
        "frame/announcer.tsx",
        ' aria-live="polite"',
        "",
        test_a_screen_reader_is_told_the_answer_once_sentence_by_sentence,
    ),
    Mutant(
        "the loader takes messages from any window",
        "loader/widget.ts",
        "event.origin !== this.backend.origin || event.source !== frame || !isMarked",
        "!isMarked",
        test_another_frame_of_the_page_cannot_speak_for_the_widgets_frame,
    ),
    Mutant(
        "the frame takes messages from any window",
        "frame/bridge.ts",
        "event.source !== window.parent || !isMarked",
        "!isMarked",
        test_only_the_page_that_holds_the_frame_can_speak_to_it,
    ),
    Mutant(
        "the frame takes messages from any origin",
        "frame/bridge.ts",
        "if (event.origin === this.origin) this.received",
        "this.received",
        test_only_the_page_that_holds_the_frame_can_speak_to_it,
    ),
    Mutant(
        "nobody waits for consent",
        "frame/app.tsx",
        "consent && !state.consented ?",
        "consent === null ?",
        test_consent_holds_back_the_first_message,
    ),
    Mutant(
        "another person goes on with the conversation",
        "loader/widget.ts",
        "if ((who || access?.identified) && who !== subjectOf(identity)) memory.forget();",
        "",
        test_another_person_at_the_same_browser_sees_nothing_of_it,
    ),
    Mutant(
        "a challenge is not solved",
        "frame/store.ts",
        "message.failure?.challenge && this.proofs++ < MOST_PROOFS",
        "message.failure?.challenge && this.proofs++ < 0",
        partial(test_a_visitor_under_a_flood_gets_through_and_reads_why_it_takes_longer, native=True),
    ),
)
CONTROL: Final[Any] = test_a_message_whose_answer_is_lost_is_sent_again_and_becomes_one_turn
