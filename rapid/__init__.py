"""One Lambda execution environment: lifecycle, Runtime API, supervision of its processes.

Knows nothing of functions' names in a catalog, versions, aliases, pools or Docker: that is `runtime`,
which imports this package and is never imported by it.
"""
