"""What users store: workspaces and their policies; scripts, flows, variables and the like come here."""
