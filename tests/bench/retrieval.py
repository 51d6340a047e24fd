"""How often the default retriever finds the passage that answers, per language, and what a large index costs.

The data are one JSON file a language: `passages`, and `questions` that each name the number of their passage (XQuAD in
this form, for example). The weights were fitted on the even questions, so the odd ones judge.
"""

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from services.agent_worker.knowledge.index import Index, in_memory
from services.agent_worker.knowledge.index_files import IndexFiles
from services.agent_worker.knowledge.retriever import VersionKey
from shared.contracts.agents import Passage

LARGE: Final = 20_000
TOP_K: Final = 5
HEAD: Final = "language  fitted @1/@5   judged @1/@5   query ms |   20,000 passages: build s   query ms   MiB"


@dataclass(frozen=True, slots=True)
class Hits:
    first: float
    five: float
    cpu_ms: float


def measure(folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Prints a line per language. `quick`: without the large indexes."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SystemExit(f"no *.json in {folder}; --questions names the folder")
    print(HEAD)
    return [_language(path, quick=quick) for path in files]


def _language(path: Path, *, quick: bool) -> dict[str, Any]:
    data = orjson.loads(path.read_bytes())
    texts, questions = data["passages"], data["questions"]
    index = in_memory(_passages(texts))
    fitted, judged = _hits(index, questions[0::2]), _hits(index, questions[1::2])
    index.close()
    row: dict[str, Any] = {
        "language": path.stem,
        "fitted": (fitted.first, fitted.five),
        "judged": (judged.first, judged.five),
    }
    row |= {"query cpu, ms": judged.cpu_ms} | ({} if quick else _large(texts, questions))
    large = "" if quick else f"{row['build cpu, s']:>24.2f} {row['large query cpu, ms']:>10.2f} {row['MiB']:>5.0f}"
    print(
        f"{path.stem:<9} {fitted.first:.3f}/{fitted.five:.3f}    {judged.first:.3f}/{judged.five:.3f}"
        f" {judged.cpu_ms:>10.2f} | {large}",
        flush=True,
    )
    return row


def _hits(index: Index, questions: Sequence[dict[str, Any]]) -> Hits:
    first = five = 0
    started = time.process_time()
    for question in questions:
        found = [passage.source_id for passage in index.search(question["question"], TOP_K)]
        first += found[:1] == [str(question["passage"])]
        five += str(question["passage"]) in found
    cpu_s = time.process_time() - started
    return Hits(first / len(questions), five / len(questions), cpu_s * 1000 / len(questions))


def _large(texts: list[str], questions: list[dict[str, Any]]) -> dict[str, float]:
    """Passages made of halves of the real ones, so that they differ and their words keep their frequencies."""
    dice = random.Random(1)
    mixed = [*texts]
    while len(mixed) < LARGE:
        first, second = dice.choice(texts), dice.choice(texts)
        mixed.append(f"{first[: len(first) // 2]} {second[len(second) // 2 :]}")
    passages = _passages(mixed)
    with tempfile.TemporaryDirectory() as directory:
        files = IndexFiles(Path(directory), 1 << 40)
        started = time.process_time()
        index = files.create(VersionKey("bench", "agt_1", 1), passages)
        build_s = time.process_time() - started
        cpu_ms = _hits(index, questions[1::8]).cpu_ms
        index.close()
        size = sum(path.stat().st_size for path in Path(directory).iterdir())
    return {"build cpu, s": build_s, "large query cpu, ms": cpu_ms, "MiB": size / 2**20}


def _passages(texts: Sequence[str]) -> list[Passage]:
    return [Passage(source_id=str(number), title="", text=text) for number, text in enumerate(texts)]
