"""Events about images, delivered to clients as they happen."""
