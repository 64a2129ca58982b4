"""Makes requests by itself: in a companion of the daemon, each request with an id of its cause."""
