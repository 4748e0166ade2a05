"""Operations for administrators: the queue, failed images of all owners, autoscaling."""
