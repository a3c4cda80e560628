"""The database under `jobs` and `workspace`: tables, transactions, migrations."""
