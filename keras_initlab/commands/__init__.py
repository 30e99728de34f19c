"""What `initlab` does, a module for each of its commands."""
