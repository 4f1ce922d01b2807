"""Servers of one's own, killed and restarted at will: PostgreSQL and Redis, where they are installed."""
