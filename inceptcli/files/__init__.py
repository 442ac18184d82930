"""Files written whole or not at all, locks, caches, limits on what is read."""
