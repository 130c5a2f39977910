"""``python -m acclimate``."""

from acclimate.commands import main

main()
