"""`python -m deploy.local`: what `make up` runs."""

import sys

from deploy.local.launcher import cli

sys.exit(cli(sys.argv[1:]))
