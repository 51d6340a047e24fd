"""How full the disks are: MongoDB's, which holds documents and blobs, and the cache of knowledge indexes."""

import shutil
from pathlib import Path

from deploy.doctor.finding import Finding, error, warning

NOTED = 0.85
HARMFUL = 0.95


def judged(subject: str, used: float | None, total: float | None) -> list[Finding]:
    """Bytes. None: not known."""
    if not used or not total or used / total < NOTED:
        return []
    message = f"Its disk is {used / total:.0%} full ({(total - used) / 1e9:.1f} GB left). A full one takes no turns."
    mend = "Enlarge the disk, or erase old sessions with a retention (`parley workspaces retention`)."
    kind = error if used / total >= HARMFUL else warning
    return [kind("disk_full", subject, message, mend)]


def folder_examined(path: str) -> list[Finding]:
    """A folder of this machine, if it exists."""
    if not path or not Path(path).is_dir():
        return []
    usage = shutil.disk_usage(path)
    return judged(path, usage.total - usage.free, usage.total)
