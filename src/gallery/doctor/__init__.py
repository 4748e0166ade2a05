"""`gallery doctor`: small checks that say what is wrong and what to do, whatever is away."""
