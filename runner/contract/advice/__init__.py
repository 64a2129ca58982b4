"""What a user can do about an error: the package behind a module, and other remedies. Pure."""
