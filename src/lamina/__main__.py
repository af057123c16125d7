"""`python -m lamina` is the command `lamina`."""

from lamina.cli.main import program

program()
