"""Real database servers in containers of their own, for tests of the SQL languages."""
