"""No tracked file holds what looks like a live secret."""

import re
import subprocess
from pathlib import Path
from typing import Final

from shared.contracts.keys import new_secret

ROOT: Final = Path(__file__).parents[3]
# What scanners of public repositories look for. Values of tests and documents are told apart by `HARMLESS`.
SHAPES: Final = {
    "a key of Parley's": r"parley_(?:sk|pk|vt)_(?:live|test)_[A-Za-z0-9]{40,}",
    "a key of a model server": r"\bsk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{32,}",
    "a signing secret": r"whsec_[A-Za-z0-9+/]{32,}={0,2}",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})",
    "a token of GitLab": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "a key of AWS": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a key of Google": r"\bAIza[A-Za-z0-9_-]{35}\b",
    "a token of Slack": r"\bxox[abprs]-[A-Za-z0-9-]{20,}",
    "a token of a registry": r"\b(?:pypi-[A-Za-z0-9_-]{50,}|npm_[A-Za-z0-9]{36})",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a JSON Web Token": r"\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{20,}",
    "a password in a URL": r"[a-z+]{3,}://[^\s/:@'\"<>{}$%`]+:[^\s/:@'\"<>{}$%`]{8,}@(?!h\b)[^\s'\"]+",
}
# The alphabet in its order, in base64 or not, one letter again and again, and words that say that they are no secret.
HARMLESS: Final = re.compile(r"(?i)abcdefgh|QUJDREVG|(.)\1{15}|canary|example|PASSWORD|hunter2|secret|0123456789")


def found_in(text: str) -> list[str]:
    return [
        kind for kind, shape in SHAPES.items() for found in re.finditer(shape, text) if not HARMLESS.search(found[0])
    ]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name]


def test_no_tracked_file_holds_a_secret() -> None:
    faults = {
        path.relative_to(ROOT).as_posix(): kinds
        for path in tracked()
        if path.is_file() and (kinds := found_in(path.read_text("utf-8", "replace")))
    }
    assert faults == {}


def test_the_search_finds_each_kind_of_secret() -> None:
    planted = [
        new_secret("live"),
        "sk-proj-" + "aB3dE6gH9j" * 4,
        "whsec_" + "aB3/E6gH" * 4,
        "ghp_" + "aB3dE6" * 6,
        "glpat-" + "aB3dE6gH9j" * 2,
        "AKIA" + "Q7W2E9R4" * 2,
        "AIza" + "aB3dE" * 7,
        "xoxb-" + "12345-aB3dE" * 3,
        "npm_" + "aB3dE6" * 6,
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "eyJ" + "aB3dE6gH9j" * 2 + ".eyJ" + "aB3dE6gH9j" * 2 + "." + "aB3dE6gH9j" * 3,
        "mongodb://app:" + "Tr0ub4dor3@db.internal",
    ]
    assert [len(found_in(f"x = '{text}'")) for text in planted] == [1] * len(planted)
