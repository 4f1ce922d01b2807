"""Rehearsals against the real model: the same scenarios, the caller spoken by OpenAI; see `rehearsal.live.command`."""
