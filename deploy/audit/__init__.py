"""`make audit`: known vulnerabilities of what the lock files name. `make sbom`: the list of it, for a release."""
