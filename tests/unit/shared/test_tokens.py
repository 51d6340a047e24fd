import pytest

from shared.tokens import MESSAGE_TOKENS, estimated_tokens, message_tokens

# How many tokens the vocabularies in use make of texts like these: from the fewest of one of 200,000 entries to the
# most of one of 100,000.
SAMPLES = {
    "English": ("The parcel left our warehouse on Monday and should arrive tomorrow. " * 10, 120, 200),
    "French": ("Où est mon colis ? Il a été expédié il y a déjà trois jours, à Besançon. " * 10, 180, 320),
    "Russian": ("Где моя посылка? Она была отправлена три дня назад из Москвы. " * 10, 150, 300),
    "Chinese": ("我的包裹在哪里它三天前已经从上海寄出请帮我查一下" * 10, 140, 280),
    "Japanese": ("荷物はどこですか。三日前に東京から発送されました。" * 10, 150, 300),
    "Korean": ("제 소포는 어디에 있나요? 사흘 전에 서울에서 발송되었습니다. " * 10, 180, 380),
    "Thai": ("พัสดุของฉันอยู่ที่ไหนส่งออกจากกรุงเทพเมื่อสามวันก่อน" * 10, 240, 620),
    "Hindi": ("मेरा पार्सल कहाँ है? यह तीन दिन पहले दिल्ली से भेजा गया था। " * 10, 150, 600),
    "Arabic": ("أين طردي؟ لقد أرسل قبل ثلاثة أيام من القاهرة. " * 10, 120, 380),
    "emoji": ("😀🎉🚀" * 10, 30, 90),
}


@pytest.mark.parametrize("language", SAMPLES)
def test_the_estimate_of_every_script_lies_between_those_of_real_vocabularies(language: str) -> None:
    text, fewest, most = SAMPLES[language]
    assert fewest <= estimated_tokens(text) <= most


def test_a_mixed_text_costs_what_its_parts_cost() -> None:
    parts = [text for text, _, _ in SAMPLES.values()]
    assert estimated_tokens("".join(parts)) == pytest.approx(sum(map(estimated_tokens, parts)), abs=len(parts))


def test_thai_is_told_from_devanagari_although_both_begin_with_the_same_byte() -> None:
    assert estimated_tokens("ก" * 280) == 200
    assert estimated_tokens("क" * 320) == 200
    assert estimated_tokens("ก" * 280 + "क" * 320) == 400


def test_every_character_counts() -> None:
    assert estimated_tokens("") == 0
    uncounted = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000 and estimated_tokens(chr(code)) < 1]
    assert uncounted == []
    assert estimated_tokens("\ud800") == 1  # Half of a pair: no text that is stored has one, and it must not raise.


def test_a_models_factor_scales_the_estimate() -> None:
    assert estimated_tokens("x" * 400, 1.5) == 150
    assert message_tokens(["x" * 400, "你" * 14], 2.0) == MESSAGE_TOKENS + 220
