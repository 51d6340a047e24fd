"""The one version number: of the release, of the API document and of the package's metadata."""

from typing import Final

VERSION: Final = "0.2.0"
