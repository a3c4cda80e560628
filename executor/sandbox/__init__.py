"""One script, one container: engines, hardening, images, the life of a run."""
