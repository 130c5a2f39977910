"""The two bars that every adapted number stands between."""
