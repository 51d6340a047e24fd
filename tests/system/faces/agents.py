"""The agents that the clients of the faces talk to."""

from shared.contracts.agents import AgentConfig, Knowledge, ModelChoice, Passage
from shared.contracts.keys import NewKey, Scope
from shared.contracts.tools import HttpTool
from shared.ids import new_id
from tests.system.stack import Stack

ECHO = "scripted/tokens=12,delay=1,text=echo,usage=full"
SLOW = "scripted/tokens=60,delay=30,text=echo"
PASSAGE = Passage(
    id="psg_blue",
    source_id=new_id("src"),
    title="Aqua 300",
    heading="Cleaning",
    url="https://docs.example/aqua",
    text="Rinse the blue filter every 17 days with cold water.",
)


async def citing_agent(stack: Stack) -> str:
    agent_id, workspace = new_id("agt"), stack.facts["workspace"]
    knows = AgentConfig(name="Pumps", model=ModelChoice(name="demo/extractive"), knowledge=Knowledge())
    async with stack.history() as history:
        await history.put_agent(workspace, agent_id, knows)
        await history.publish_agent(workspace, agent_id, [PASSAGE])
    return agent_id


async def tool_agent(stack: Stack) -> str:
    """Its model calls a tool that answers and one that is not there, under one id each round."""
    address = stack.facts["modelUrl"].removesuffix("/v1")
    schema = {"type": "object", "properties": {"table": {"type": "integer"}}}
    tools = tuple(
        HttpTool.model_validate({"name": name, "url": f"{address}/tools/{path}", "parameters": schema})
        for name, path in (("book", "count"), ("lost", "nowhere"))
    )
    model = 'scripted/tokens=5,delay=0,tool=book:{"table":4},tool=lost:{"table":5},rounds=2'
    return await stack.publish(model, tools=tools)


async def limited_key(stack: Stack) -> str:
    scopes = frozenset({Scope.CHAT_READ, Scope.CHAT_WRITE})
    async with stack.history() as history:
        key = NewKey(workspace=stack.facts["workspace"], scopes=scopes, rate_limit_rpm=1)
        return (await history.create_key(key)).secret


async def agents_of(stack: Stack) -> dict[str, str]:
    return {
        "echo": await stack.publish(ECHO),
        "slow": await stack.publish(SLOW),
        "endless": await stack.publish("scripted/tokens=5000,delay=30"),
        "failing": await stack.publish("scripted/tokens=40,delay=5,fail=cut,after=20"),
        "frontend": await stack.publish("scripted/tokens=5,tool=color:{},text=echo"),
        "tools": await tool_agent(stack),
        "knowledge": await citing_agent(stack),
    }
