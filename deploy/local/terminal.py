"""What `make up` prints."""

import textwrap

from deploy.demo.agent import AGENT_ID
from deploy.local.stack import Stack


def say(text: str) -> None:
    print(text, flush=True)


def banner(stack: Stack, secret: str) -> str:
    """The address, the key and commands to paste."""
    api = f"{stack.base_url}/api/v1"
    model = (
        stack.demo_model
        or "demo/extractive (a stand-in that quotes documents; PARLEY_MODEL_BASE_URL and PARLEY_MODEL set a real one)"
    )
    messages = '"messages": [{"role": "user", "content": "Do you deliver to 80202?"}]'
    return textwrap.dedent(f"""
        Parley is ready.

          guides  {stack.base_url}/docs  (API reference: {stack.base_url}/docs/reference)
          try     {stack.base_url}/playground  (agents: {stack.base_url}/console; paste the key)
          shop    {stack.model_url}/  (a web page that embeds the chat widget)
          API     {api}
          key     {secret}
          agent   {AGENT_ID}  (Mia's Pizza)
          model   {model}
          logs    {stack.logs}

        Ask it something:

          curl -N {api}/chat/completions \\
            -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' \\
            -d '{{"model": "{AGENT_ID}", "stream": true, {messages}}}'

        The same with the OpenAI library:

          from openai import OpenAI
          client = OpenAI(base_url="{api}", api_key="{secret}")
          messages = [{{"role": "user", "content": "Where is order 1042?"}}]
          print(client.chat.completions.create(model="{AGENT_ID}", messages=messages).choices[0].message.content)

        A conversation at the terminal, and agents of your own (README, five minutes):

          .venv/bin/parley login --local {stack.state.data_dir}
          .venv/bin/parley chat {AGENT_ID}

        A durable session:

          curl {api}/chat/sessions -H 'Authorization: Bearer {secret}' \\
            -H 'Content-Type: application/json' -d '{{"agentId": "{AGENT_ID}"}}'

        Ctrl-C ends everything; the data stays in {stack.state.data_dir}.
    """)
