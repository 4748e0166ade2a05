"""`gallery doctor`: small checks that report faults with advice, also while servers are unavailable."""
