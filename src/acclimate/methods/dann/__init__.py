"""DANN: gradient reversal."""
