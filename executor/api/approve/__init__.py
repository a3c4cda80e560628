"""The approval page: plain HTML and forms, for people who were sent a link. No script, nothing from elsewhere."""
