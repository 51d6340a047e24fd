import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.agent_worker.settings import PromptMode
from services.agent_worker.turns.conversation import CONTINUE, NO_ANSWER, OPENING, shrunk, valid
from services.agent_worker.turns.paired_calls import NO_RESULT
from tests.unit.agent_worker.turns.template_rules import complaint

Messages = list[dict[str, Any]]

IDS = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["", " ", "one", "two", "three"])


def system(content: str = "s") -> dict[str, Any]:
    return {"role": "system", "content": content}


def user(content: str = "u") -> dict[str, Any]:
    return {"role": "user", "content": content}


def said(content: str | None = "t") -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def calling(*ids: str, content: str | None = None, **more: Any) -> dict[str, Any]:
    calls = [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in ids]
    return {"role": "assistant", "content": content, "tool_calls": calls, **more}


def result(call_id: str, content: str = "r") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


ANY_MESSAGE = st.one_of(
    st.builds(system, TEXTS),
    st.builds(user, TEXTS),
    st.builds(said, st.one_of(st.none(), TEXTS)),
    st.lists(IDS, min_size=1, max_size=3).map(lambda ids: calling(*ids)),
    st.builds(result, IDS, TEXTS),
)
HISTORIES = st.lists(ANY_MESSAGE, max_size=12)
MANY = settings(max_examples=300, deadline=None, derandomize=True)


@MANY
@given(HISTORIES)
def test_strict_makes_any_history_valid_for_every_template(messages: Messages) -> None:
    assert complaint(valid(messages, "strict")) is None


@MANY
@given(HISTORIES)
def test_alternate_leaves_only_the_end_and_repeated_ids_to_the_caller(messages: Messages) -> None:
    assert complaint(valid(messages, "alternate"), finished=False) is None


@MANY
@given(HISTORIES)
def test_as_is_pairs_calls_and_drops_empty_answers_and_changes_nothing_else(messages: Messages) -> None:
    sent = valid(messages, "as_is")
    expected: list[str] = []
    for message in sent:
        if message["role"] == "tool":
            assert expected.pop(0) == message["tool_call_id"]
        else:
            assert expected == []
        expected += [call["id"] for call in message.get("tool_calls", ())]
    assert expected == []
    talk = [m for m in messages if m["role"] != "tool" and "tool_calls" not in m and (m["content"] or "").strip()]
    kept = [m for m in sent if m["role"] != "tool" and "tool_calls" not in m and (m["content"] or "").strip()]
    assert kept == talk


@MANY
@given(HISTORIES, st.sampled_from(["strict", "alternate", "as_is"]))
def test_a_valid_history_comes_back_as_it_is_and_nothing_given_is_changed(messages: Messages, mode: PromptMode) -> None:
    before = copy.deepcopy(messages)
    once = valid(messages, mode)
    assert messages == before
    assert valid(once, mode) == once


@MANY
@given(HISTORIES)
def test_no_text_of_the_user_or_of_the_assistant_is_lost(messages: Messages) -> None:
    numbered = [
        {**message, "content": f"<{number}>"} if message["role"] in ("user", "assistant", "system") else message
        for number, message in enumerate(messages)
    ]
    text = "".join(str(message["content"]) for message in valid(numbered, "strict") if message["role"] != "system")
    spoken = [f"<{number}>" for number, message in enumerate(messages) if message["role"] in ("user", "assistant")]
    positions = [text.find(each) for each in spoken]
    assert -1 not in positions
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("history", "sent"),
    [
        # A turn was cancelled before its first text.
        ([user("a"), user("b")], [user("a\n\nb")]),
        # A turn was cancelled behind a tool's result.
        (
            [user(), calling("a"), result("a"), user("b")],
            [user(), calling("a"), result("a"), said(NO_ANSWER), user("b")],
        ),
        # A late system message.
        ([system("x"), user(), said(), system("y"), user("b")], [system("x\n\ny"), user(), said(), user("b")]),
        # The result comes after the next user message.
        (
            [user(), calling("a"), user("b"), result("a", "late"), said()],
            [user(), calling("a"), result("a", "late"), said(NO_ANSWER), user("b"), said(), user(CONTINUE)],
        ),
        # Two results for one call, and one for none.
        (
            [user(), calling("a"), result("a", "1"), result("a", "2"), result("z"), said(), user()],
            [user(), calling("a"), result("a", "1"), said(), user()],
        ),
        # Results in another order than the calls, one missing.
        (
            [user(), calling("a", "b", "c"), result("c"), result("a")],
            [user(), calling("a", "b", "c"), result("a"), result("b", NO_RESULT), result("c")],
        ),
        # A model that answered nothing.
        ([user("a"), said(""), user("b"), said(None), user("c")], [user("a\n\nb\n\nc")]),
        # An agent that speaks first.
        ([said("Hello, who is there?"), user()], [user(OPENING), said("Hello, who is there?"), user()]),
        # Instructions alone.
        ([system()], [system(), user(OPENING)]),
        # Text, then calls, by two messages.
        ([user(), said("x"), calling("a"), result("a")], [user(), calling("a", content="x"), result("a")]),
    ],
)
def test_histories_that_templates_refused_are_mended(history: Messages, sent: Messages) -> None:
    assert valid(history) == sent
    assert complaint(history) is not None or any(message["role"] == "assistant" for message in history[-1:])


def test_an_id_that_is_used_twice_becomes_two_ids_and_each_result_stays_with_its_call() -> None:
    history = [
        user(),
        calling("x", "x"),
        result("x", "1"),
        result("x", "2"),
        said(),
        user(),
        calling("x"),
        result("x", "3"),
    ]
    sent = valid(history)
    assert [call["id"] for message in sent for call in message.get("tool_calls", ())] == ["x", "x_2", "x_3"]
    assert [(m["tool_call_id"], m["content"]) for m in sent if m["role"] == "tool"] == [
        ("x", "1"),
        ("x_2", "2"),
        ("x_3", "3"),
    ]


def test_members_that_a_model_wants_back_survive_every_mode() -> None:
    call = calling("a" * 4096, reasoning_content="hm")
    call["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "s"}}
    history = [user(), call, result("a" * 4096)]
    for mode in ("strict", "alternate", "as_is"):
        assert valid(history, mode) == history


def test_names_are_kept_unless_two_speakers_share_a_message() -> None:
    ann, bob = user("a") | {"name": "Ann"}, user("b") | {"name": "Bob"}
    assert valid([ann, ann]) == [{"role": "user", "content": "a\n\na", "name": "Ann"}]
    assert valid([ann, bob]) == [user("a\n\nb")]
    assert valid([ann, bob], "as_is") == [ann, bob]


def test_contents_of_parts_are_joined_as_parts() -> None:
    part = {"type": "text", "text": "x"}
    assert valid([user("a"), {"role": "user", "content": [part]}]) == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, part]}
    ]


# --- a prompt that was too long


@MANY
@given(HISTORIES)
def test_a_shrunk_conversation_is_shorter_keeps_its_head_and_last_turn_and_stays_valid(messages: Messages) -> None:
    whole = valid(messages)
    less = shrunk(whole)
    if less is None:
        assert sum(message["role"] == "user" for message in whole) == 1
        return
    assert len(less) < len(whole)
    assert complaint(less) is None
    head = 1 if whole[0]["role"] == "system" else 0
    assert less[:head] == whole[:head]
    assert less[head:] == whole[len(whole) - len(less) + head :]


def test_shrinking_drops_the_oldest_whole_turns_until_half_of_the_tokens_is_left() -> None:
    turns = [
        [user(f"{number} " + "x" * 400), calling("a"), result("a", "y" * 400), said("z" * 400)] for number in range(4)
    ]
    history = [system("s" * 10_000), *(message for turn in turns for message in turn), user("last")]
    assert shrunk(history) == [history[0], *turns[3], user("last")]
    assert shrunk([system(), user("x" * 100_000)]) is None
