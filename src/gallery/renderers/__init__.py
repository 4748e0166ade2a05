"""Child processes that decode untrusted pictures: their pool, their confinement, and how their results are read."""
