"""`/admin` of the private port: the deployment at a glance, for an operator's browser."""
