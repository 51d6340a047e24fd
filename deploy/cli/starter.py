"""The agent.yaml that `parley agents init` writes."""

import orjson


def starter_file(*, name: str, slug: str, model: str, upstream: str, api: str) -> str:
    """JSON strings are YAML strings, so whatever the name holds is quoted rightly."""
    return f"""\
# yaml-language-server: $schema={api}/schemas/agent.json
# `parley agents apply` makes the draft on the server what this file says. Keep it in git, with its .lock file.
slug: {slug}
name: {_quoted(name)}

# What the agent is told before each conversation. {{{{name}}}} is filled from a session's metadata.
instructions: |
  You answer questions briefly and politely. If you do not know an answer, say so.

model:
  # The model server, by the name that its operator gave it, and the model's name there.
  upstream: {_quoted(upstream)}
  name: {_quoted(model)}

# Tests of the agent: `parley agents check` runs them, `parley agents publish --require-checks` needs them to pass.
# checks:
#   - name: says hello
#     steps:
#       - user: Hello
#         expect:
#           - contains: hello
# parameters:
#   temperature: 0.3
# limits:
#   maxModelCalls: 8
# tools:
#   - kind: http
#     name: order_status
#     description: Where an order is, by its number.
#     url: https://shop.example/orders/{{order_id}}
#     method: GET
#     parameters:
#       type: object
#       properties:
#         order_id: {{type: string}}
#       required: [order_id]
#     # The value comes from the environment of `parley agents apply` and never stands in this file.
#     secretHeaders:
#       Authorization: {{value: "${{SHOP_TOKEN}}"}}
"""


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
