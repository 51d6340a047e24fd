"""The vectors of a set as one file, which is stored beside its index: passages, vectors, and whose vector is whose.

Each distinct text has one vector, under the digest of the text. The file is NumPy's archive of plain arrays.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from services.agent_worker.knowledge.vector_store import Matrix, space_of
from shared.contracts.agents import Passage

# Part of the parts' names: a change of the file makes new parts.
FORMAT: Final = "1"
_DIGEST: Final = 32


def part_of(model: str) -> str:
    return f"vectors-{FORMAT}-{space_of(model)}"


class VectorFile(NamedTuple):
    """`matrix` has a row for each passage, of length 1. `digests`: of the passages' texts."""

    passages: Sequence[Passage]
    digests: Sequence[bytes]
    matrix: Matrix

    def write(self, path: Path) -> None:
        """Raises OSError."""
        texts = [passage.model_dump_json().encode() for passage in self.passages]
        first: dict[bytes, int] = {}
        for row, digest in enumerate(self.digests):
            first.setdefault(digest, row)
        place = {digest: number for number, digest in enumerate(first)}
        with path.open("wb") as file:
            np.savez(
                file,
                passages=_bytes(b"".join(texts)),
                ends=np.cumsum([len(text) for text in texts], dtype=np.int64),
                digests=_bytes(b"".join(first)).reshape(-1, _DIGEST),
                places=np.array([place[digest] for digest in self.digests], dtype=np.int32),
                vectors=self.matrix[list(first.values())],
            )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, and ValueError for a file that is none."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                text, ends, places = found["passages"].tobytes(), found["ends"].tolist(), found["places"]
                digests, vectors = found["digests"], found["vectors"]
        except (KeyError, BadZipFile, EOFError) as error:
            raise ValueError("not a file of vectors") from error
        starts = [0, *ends[:-1]]
        passages = [Passage.model_validate_json(text[start:end]) for start, end in zip(starts, ends, strict=True)]
        return cls(passages, [bytes(digests[place]) for place in places], vectors[places])


def _bytes(raw: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(raw, dtype=np.uint8)
