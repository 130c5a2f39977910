"""CDAN: adversarial adaptation conditioned on the classes that are seen."""
