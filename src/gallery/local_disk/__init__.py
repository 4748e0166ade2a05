"""Files of this machine: private, durable, temporary."""
