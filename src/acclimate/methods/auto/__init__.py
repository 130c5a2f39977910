"""Auto: other methods tried within a budget of time, and the best of them chosen without target labels."""
