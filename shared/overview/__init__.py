"""A deployment at a glance, from its processes' metrics: for `parley status --watch` and the gateway's `/admin`."""
