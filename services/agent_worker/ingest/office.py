"""The ZIP container of an Office document, checked before anything in it is unpacked."""

import zipfile
from pathlib import Path
from typing import Final

from services.agent_worker.ingest.blocks import Unreadable

MAX_UNPACKED: Final = 100 << 20
MAX_XML: Final = 40 << 20
MAX_MEMBERS: Final = 5_000


def check_container(path: Path) -> None:
    """A ZIP bomb says what it unpacks to; one that lies is cut off at what it said. Raises Unreadable."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError):
        raise Unreadable("It is damaged: its ZIP container cannot be read.") from None
    if any(member.flag_bits & 1 for member in members):
        raise Unreadable("It is encrypted. Remove its password and upload it again.")
    xml = sum(member.file_size for member in members if member.filename.endswith(".xml"))
    if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_UNPACKED or xml > MAX_XML:
        raise Unreadable(f"It unpacks to more than {MAX_UNPACKED >> 20} MiB, or more text than can be read.")
