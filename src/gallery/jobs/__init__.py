"""Queues jobs in Valkey, takes them, and renders pictures in processes of their own."""
