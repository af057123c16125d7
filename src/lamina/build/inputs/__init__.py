"""What a build takes from outside: contexts, Dockerfiles, downloads and git repositories."""
