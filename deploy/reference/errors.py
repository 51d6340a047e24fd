"""errors.md: the codes, from `shared/contracts/errors.py`."""

from deploy.reference.markdown import page as markdown_page
from deploy.reference.markdown import table
from shared.contracts.errors import MEANINGS, Code

INTRODUCTION = """\
Every error is an RFC 9457 problem document (`application/problem+json`) with one of these codes, and carries
OpenAI's `error` member beside it. *Retryable* says whether the same request may succeed later; a document's own
`retryable` member may say otherwise for one case. Codes are added, and never changed or removed."""


def page() -> str:
    rows = [
        (f"`{code}`", str(meaning.status), "yes" if meaning.retryable else "no", meaning.title, meaning.openai_type)
        for code in Code
        for meaning in (MEANINGS[code],)
    ]
    head = ("code", "HTTP status", "retryable", "meaning", "OpenAI `error.type`")
    return markdown_page("Error codes", "shared/contracts/errors.py", INTRODUCTION, table(head, rows))
