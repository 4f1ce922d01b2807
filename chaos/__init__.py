"""Calls in bad weather: everything around Kav fails while they run, and what must be true is checked from outside."""
