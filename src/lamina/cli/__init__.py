"""The command line: one module a command, each of which parses, calls the API and prints.

What a command is (its options, its help, its completion) is a value in its module; what it does is beside it. Nothing
else of lamina prints, reads the environment or looks at the terminal.
"""
