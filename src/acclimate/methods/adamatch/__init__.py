"""AdaMatch: pseudo-labels of weak views, aligned with the source, on strong views."""
