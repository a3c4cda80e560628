"""HTTP in, JSON out; decides nothing. The routes are those of docs/openflow.md section 6."""
