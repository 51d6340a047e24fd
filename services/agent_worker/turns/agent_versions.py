"""Agent versions that this worker has met, each with its compiled tools. They never change, so each is fetched once."""

from typing import Final, NamedTuple

from cachetools import LRUCache

from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.tools.toolbox import Toolbox
from shared.contracts.agents import AgentVersion

KEPT: Final = 512


class KnownAgent(NamedTuple):
    version: AgentVersion
    toolbox: Toolbox


class AgentCache:
    """The most recently used versions. Drafts (number 0) change and are not kept."""

    def __init__(self) -> None:
        self._known = LRUCache[VersionKey, KnownAgent](KEPT)

    def get(self, key: VersionKey) -> KnownAgent | None:
        return self._known.get(key)

    def put(self, key: VersionKey, version: AgentVersion) -> KnownAgent:
        known = KnownAgent(version, Toolbox(version.config))
        if key.number:
            self._known[key] = known
        return known
