"""`python -m lartpc`: the same as the installed command `lartpc`."""

from lartpc.cli import app

if __name__ == "__main__":
    app()
