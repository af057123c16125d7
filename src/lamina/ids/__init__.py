"""Who is who: id maps as values, the ranges a user was given, entering a map, and the worker that lives inside one."""
