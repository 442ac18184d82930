"""Questions that several training runs answer together."""
