"""The demo agent and the models of the demo process: what they answer, and in which bytes."""

import re
from typing import Any

import orjson
import pytest

from deploy.demo.agent import cut, demo_checks, demo_config, demo_documents, source_id
from deploy.demo.answer import Answer, Call, ChunkRenderer, usage_of, whole_body
from deploy.demo.extractive import GREETING, NOTHING_FOUND, WHAT_IT_IS, best_sentences, extractive_reply, told_result
from deploy.demo.scripted import KnobError, Knobs, read_knobs, scripted_answer, scripted_pieces, scripted_reply
from deploy.demo.tools import ORDERS
from services.history.checks.suite_rules import checked_suite
from shared.contracts.agents import Passage
from shared.contracts.tools import HttpTool
from shared.ids import is_id

ORDER_TOOL = {
    "type": "function",
    "function": {"name": "order_status", "parameters": {"properties": {"order_id": {"type": "string"}}}},
}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def demo_passages() -> list[Passage]:
    return [passage for document in demo_documents() for passage in document.passages]


def system_with_all_passages() -> dict[str, Any]:
    rows = [f'<passage title="{passage.title}">{passage.text}</passage>' for passage in demo_passages()]
    return {"role": "system", "content": "\n".join(["Be brief.", "<passages>", *rows, "</passages>"])}


def said(*messages: dict[str, Any]) -> str:
    return "".join(extractive_reply(messages, [ORDER_TOOL], 0.0).pieces)


def parsed(chunks: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(block.removeprefix(b"data: ")) for block in chunks.split(b"\n\n") if block]


# --- the demo agent


def test_the_demo_agents_tool_points_at_the_demo_process() -> None:
    config = demo_config("http://127.0.0.1:9999")
    assert [(tool.name, tool.url) for tool in config.tools if isinstance(tool, HttpTool)] == [
        ("order_status", "http://127.0.0.1:9999/tools/order_status")
    ]
    assert config.model.name == "demo/extractive"
    assert demo_config("http://x", "some-model").model.name == "some-model"


def test_the_demo_agents_checks_are_ones_that_history_takes() -> None:
    suite = checked_suite(demo_checks(), has_judge=False)
    assert len(suite.checks) >= 3
    assert any(len(check.steps) > 1 for check in suite.checks)


def test_passages_are_the_same_at_every_start_and_carry_ids() -> None:
    assert demo_passages()[0].source_id == "src_5mnwwxbdjt2j29x22tknjz1vz4"
    assert all(each.order.id == passage.source_id for each in demo_documents() for passage in each.passages)
    assert len({(passage.source_id, passage.title) for passage in demo_passages()}) == len(demo_passages()) > 10
    assert all(is_id("src", passage.source_id) and passage.text for passage in demo_passages())


def test_a_document_is_cut_at_its_second_level_headings() -> None:
    passages = cut("doc", "# Menu\n\nintro\n\n## Pizzas\n- one\n- two\n\n## Drinks\nwater\n")
    assert [(passage.title, passage.text) for passage in passages] == [
        ("Menu: Pizzas", "one\ntwo"),
        ("Menu: Drinks", "water"),
    ]
    assert {passage.source_id for passage in passages} == {source_id("doc")}


# --- demo/extractive


@pytest.mark.parametrize(
    ("question", "fact"),
    [
        ("Do you deliver to 80202?", "we deliver to 80202"),
        ("What are your hours?", "Monday to Thursday from 11:00 to 22:00"),
        ("How much is a Margherita?", "$12.50"),
        ("Is there a gluten free crust?", "gluten-free crust"),
        ("Can I get a refund?", "refund"),
    ],
)
def test_it_quotes_the_sentence_that_answers(question: str, fact: str) -> None:
    answer = said(system_with_all_passages(), user(question))
    assert fact in answer
    # Quoted, not written: every sentence stands in a passage.
    text = "\n".join(passage.text for passage in demo_passages())
    assert all(sentence in text for sentence in re.split(r"(?<=[.!?]) ", answer))


def test_it_cites_the_numbered_passage_that_it_quotes() -> None:
    rows = [
        '<passage number="1" title="Area" heading="Delivery" page="2">We deliver to 80202. We deliver daily.</passage>',
        '<passage number="2" title="Fees">We deliver for free.</passage>',
    ]
    system = {"role": "system", "content": "\n".join(["<passages>", *rows, "</passages>"])}
    assert (
        said(system, user("Do you deliver?")) == "We deliver to 80202. We deliver daily. [1] We deliver for free. [2]"
    )


def test_it_says_that_it_found_nothing_and_what_it_is() -> None:
    assert said(system_with_all_passages(), user("Who won the world cup?")) == NOTHING_FOUND
    assert said(user("Do you deliver?")) == NOTHING_FOUND
    assert said(user("Are you a bot?")) == WHAT_IT_IS
    assert said(user("Hello!")) == GREETING
    assert "not a language model" in WHAT_IT_IS
    assert "demo model" in NOTHING_FOUND


def test_a_number_that_no_passage_holds_is_not_quoted_as_if_it_did() -> None:
    assert best_sentences("What about 99999?", [("Area", "We deliver to 80202.")]) == []


def test_it_calls_the_order_tool_when_the_user_names_an_order() -> None:
    for question, number in (
        ("Where is order 1042?", "1042"),
        ("status of my order #7007 please", "7007"),
        ("#1043?", "1043"),
    ):
        answer = extractive_reply([user(question)], [ORDER_TOOL], 0.0)
        assert [(call.name, orjson.loads(call.arguments)) for call in answer.calls] == [
            ("order_status", {"order_id": number})
        ]
        assert answer.finish_reason == "tool_calls"
    assert not extractive_reply([user("Do you deliver to 80202?")], [ORDER_TOOL], 0.0).calls
    assert not extractive_reply([user("Where is order 1042?")], [], 0.0).calls


def test_it_words_the_tools_result_and_does_not_call_again() -> None:
    result = orjson.dumps({"orderId": "1042", **ORDERS["1042"]}).decode()
    answer = extractive_reply([user("Where is order 1042?"), {"role": "tool", "content": result}], [ORDER_TOOL], 0.0)
    assert not answer.calls
    assert "".join(answer.pieces) == (
        "Order 1042 is out for delivery. It holds Margherita, Garden Salad. It should be with you in about 12 minutes."
    )


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"error": "down"}', ""])
def test_a_tool_that_failed_is_admitted(content: str) -> None:
    assert "no answer that I can read" in told_result(content)


def test_an_unknown_order_is_said_to_be_unknown() -> None:
    assert told_result('{"orderId": "9", "status": "unknown"}').startswith("I could not find an order 9.")


def test_the_pieces_are_words_and_join_to_the_text() -> None:
    answer = extractive_reply([user("Are you a bot?")], [], 0.015)
    assert "".join(answer.pieces) == WHAT_IT_IS
    assert len(answer.pieces) == len(WHAT_IT_IS.split())
    assert answer.delay_s == 0.015


# --- scripted


def test_knobs_are_read_from_the_models_name() -> None:
    model = (
        "scripted/tokens=8,delay=1.5,first=100,fail=429,fail_times=2,"
        'tool=a:{"x":1,"y":[1,2]},tool=b,text=echo,usage=full'
    )
    assert read_knobs(model) == Knobs(
        tokens=8,
        delay=1.5,
        first=100,
        fail="429",
        fail_times=2,
        tools=(("a", '{"x":1,"y":[1,2]}'), ("b", "{}")),
        text="echo",
        usage="full",
    )
    assert read_knobs("scripted/") == Knobs()


@pytest.mark.parametrize(
    "model",
    ["scripted/tokens=many", "scripted/nonsense=1", "scripted/fail=sometimes", "scripted/word", "scripted/fail=200"],
)
def test_a_knob_that_makes_no_sense_is_refused(model: str) -> None:
    with pytest.raises(KnobError):
        read_knobs(model)


def test_a_scripted_answer_follows_from_the_question_alone() -> None:
    assert scripted_answer("a question", 20) == scripted_answer("a question", 20)
    assert scripted_answer("a question", 20) != scripted_answer("another", 20)
    assert scripted_answer("a question", 20, variant=1) != scripted_answer("a question", 20)
    assert len(scripted_pieces("a question", 20)) == 20
    assert scripted_answer("a question", 0) == ""


def test_some_questions_get_characters_that_are_hard_to_stream() -> None:
    texts = "".join(scripted_answer(f"question {number}", 64) for number in range(30))
    assert {"\u2028", "\u2029", "\u0085", "🍕", "日"} <= set(texts)
    assert any(scripted_answer(f"question {number}", 64).isascii() for number in range(30))


def test_echo_answers_the_last_user_message() -> None:
    messages = [
        user("first"),
        {"role": "assistant", "content": "…"},
        {"role": "user", "content": [{"type": "text", "text": "second"}]},
    ]
    assert "".join(scripted_reply(Knobs(tokens=9, text="echo"), messages, 0).pieces) == scripted_answer("second", 9)
    assert "".join(scripted_reply(Knobs(tokens=9, vary=True), messages, 3).pieces) == scripted_answer(
        "second", 9, variant=3
    )


def test_only_the_first_requests_fail() -> None:
    knobs = Knobs(tokens=10, fail="cut", fail_times=2)
    faults = [scripted_reply(knobs, [user("x")], seen).fault for seen in range(3)]
    assert [fault.after if fault else None for fault in faults] == [5, 5, None]


def test_tools_are_called_for_as_many_rounds_as_asked() -> None:
    knobs = Knobs(tokens=3, tools=(("a", "{}"), ("b", "{}")), rounds=2)
    messages = [user("x")]
    for _ in range(2):
        answer = scripted_reply(knobs, messages, 0)
        assert [call.name for call in answer.calls] == ["a", "b"]
        messages.append({"role": "assistant", "tool_calls": [{"id": call.id} for call in answer.calls]})
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "{}"} for call in answer.calls]
    assert len(scripted_reply(knobs, messages, 0).pieces) == 3
    assert scripted_reply(knobs, [user("x")], 0, tools_allowed=False).pieces


def test_usage_can_be_plain_full_or_missing() -> None:
    assert scripted_reply(Knobs(usage="none"), [user("x")], 0).usage is None
    plain = scripted_reply(Knobs(tokens=8), [user("x")], 0).usage
    full = scripted_reply(Knobs(tokens=8, usage="full"), [user("x")], 0).usage
    assert plain == {"prompt_tokens": 1, "completion_tokens": 8, "total_tokens": 9}
    assert full is not None
    assert full["completion_tokens_details"] == {"reasoning_tokens": 2}


# --- bytes


def test_text_chunks_have_openais_shape_and_one_line_each() -> None:
    renderer = ChunkRenderer("chatcmpl-1", "m", 7)
    raw = renderer.text('a\n\u2028"b" 🍕')
    assert raw.count(b"\n") == 2
    assert parsed(raw) == [
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 7,
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": 'a\n\u2028"b" 🍕'}, "finish_reason": None}],
        }
    ]


def test_tool_calls_are_streamed_by_index_with_id_and_name_once() -> None:
    calls = [Call(id="call_1", name="a", arguments='{"x":1}'), Call(id="call_2", name="b", arguments="{}")]
    deltas = [
        chunk["choices"][0]["delta"]["tool_calls"][0]
        for chunk in parsed(b"".join(ChunkRenderer("c", "m", 1).calls(calls)))
    ]
    assert [(delta["index"], delta["id"]) for delta in deltas if "id" in delta] == [(0, "call_1"), (1, "call_2")]
    arguments = [
        "".join(delta["function"]["arguments"] for delta in deltas if delta["index"] == index) for index in (0, 1)
    ]
    assert arguments == ['{"x":1}', "{}"]


def test_a_whole_body_carries_text_or_calls() -> None:
    text = whole_body(Answer(pieces=["a ", "b"], usage=usage_of(1, 2)), "c", "m", 1)
    assert text["choices"][0]["message"] == {"role": "assistant", "content": "a b"}
    assert text["usage"]["total_tokens"] == 3
    calls = whole_body(Answer(calls=[Call(id="i", name="a", arguments="{}")]), "c", "m", 1)
    assert calls["choices"][0]["finish_reason"] == "tool_calls"
    assert calls["choices"][0]["message"]["content"] is None
