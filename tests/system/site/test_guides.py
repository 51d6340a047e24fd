"""The code of every guide runs as it stands there. Blocks of data are checked by tests/unit/deploy/test_site.py."""

from pathlib import Path

import pytest

from deploy.site.guides import ORDER
from tests.system.site.guide_code import code_of, run
from tests.system.stack import Stack

# What the examples of a guide must print.
PRINTED = {
    ("quickstart", "bash"): ["event: done", "80202", '"role":"assistant"'],
    ("quickstart", "python"): ["11:00"],
    ("agents", "bash"): ["helpdesk version 1 is published", "Hello"],
    ("sessions", "bash"): ["1042", '"parentTurnId"', '"finishReason"', '"cancelled', '"endedReason":"api"'],
    ("resume", "python"): ["80202"],
    ("openai", "bash"): ['"chat.completion"', "80202"],
    ("openai", "python"): ["agt_000000000000000000000p1zza", "1042"],
    ("responses", "bash"): ['"object":"response"', "response.completed", "80202"],
    ("responses", "python"): ["1042", "resp_", "completed"],
    ("ai-sdk", "bash"): ['"type":"text-delta"', "1042", '"messages":[', '{"success":true}'],
    ("ag-ui", "bash"): ["TEXT_MESSAGE_CONTENT", "RUN_FINISHED", "1042", '{"success":true}'],
    ("mcp", "bash"): ["outputSchema", "notifications/progress", "80202"],
    ("a2a", "bash"): ["supportedInterfaces", "artifactUpdate", "80202", "nextPageToken"],
    ("mcp", "python"): ["ask_mia-s-pizza-000p1zza", "1042"],
    ("widget", "bash"): ["parley_pk_", "data-parley-key", "sha384-", "Ask the shop"],
    ("knowledge", "bash"): ["17 days", "Aqua 300", "LAST ASKED"],
    ("webhooks", "bash"): ["whsec_", "webhook.test", '"deleted":true'],
    ("keys", "bash"): ["parley_sk_", '"deleted":true'],
    ("errors", "bash"): ["validation_failed", '"retryable":false', "agentId"],
    ("limits", "bash"): ["RateLimit-Remaining", '"subject":"workspace"'],
    ("doctor", "bash"): ["Nothing is wrong.", "data: ", '"errors": 0'],
}
RUN = [(slug, language) for slug in ORDER for language in ("bash", "python") if code_of(slug, language)]


# What these tell is true of a moment. On a busy machine a process may answer too late for the doctor, and the demo's
# model may have answered before the cancel arrives.
MOMENTARY = {"doctor", "sessions"}


@pytest.mark.parametrize(("slug", "language"), RUN, ids=lambda value: value)
async def test_the_examples_of_a_guide_work_as_pasted(stack: Stack, slug: str, language: str, tmp_path: Path) -> None:
    for repeats_left in reversed(range(5 if slug in MOMENTARY else 1)):
        try:
            output = await run(code_of(slug, language), language, stack, tmp_path)
            assert [fragment for fragment in PRINTED[slug, language] if fragment not in output] == [], output
            return
        except AssertionError:
            if not repeats_left:
                raise
