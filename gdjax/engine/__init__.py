"""Training runs: the pure functions, and the loop on the host around them."""
