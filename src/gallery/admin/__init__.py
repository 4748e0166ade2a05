"""What operators see and do, of all owners' images and of the queue."""
