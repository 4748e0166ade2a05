"""What deploy/ names and another change brings. Empty it when it is there."""

FILES = {"deploy/bull-board"}
