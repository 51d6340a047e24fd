"""Pure: unique ids of the calls of tools, for clients that keep a turn's calls by their ids."""


class CallIds:
    """Unique ids of a turn's calls. Some models number the calls of each round from 0; a client would mix them up."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def opened(self, call_id: str) -> str:
        self._seen[call_id] = self._seen.get(call_id, 0) + 1
        return self.of(call_id)

    def of(self, call_id: str) -> str:
        """The last call of this id."""
        count = self._seen.get(call_id, 1)
        return call_id if count == 1 else f"{call_id}#{count}"
