"""`python -m probscale`, for where the script is not on the path."""

from probscale.cli import main

main()
