"""The contract: requests, notebooks and outcomes as values, and the pure rules over them."""
