"""The command `gallery-client`."""
