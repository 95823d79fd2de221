"""The library eventsource-py 0.15 (asynchronous, SQLAlchemy and asyncpg)."""
