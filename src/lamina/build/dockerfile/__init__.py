"""The language of Dockerfiles: from text to typed instructions and back, as pure functions of values.

    lex           text -> logical lines: directives, comments, continuations, here-documents
    parse         lines -> typed instructions and stages            print   the reverse
    instructions  the values                                        source  positions and the error that shows them
    expand        variables and quotes in words                     arguments  which variables a stage knows
    mounts, modes, ports, durations    the small languages of flags
    ignore        .dockerignore                                     check   what is legal and yet probably wrong

Nothing here reads a file, the environment or a registry.
"""
