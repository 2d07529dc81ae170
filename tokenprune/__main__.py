"""``python -m tokenprune`` is ``tokenprune``."""

from tokenprune.cli import app

if __name__ == "__main__":
    app(prog_name="tokenprune")
