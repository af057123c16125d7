"""Building images: a Dockerfile becomes steps, and each step a layer."""
